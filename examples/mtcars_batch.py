"""A program written for ML Server's batches, of which the import lines are changed and nothing else.

    python examples/mtcars_batch.py                              with a private server, for a first look
    python examples/mtcars_batch.py http://HOST:PORT TOKEN       with a server that has the service

The service says of a car, by its horsepower and weight, how likely it has a manual transmission: a linear model,
fitted to the cars of `mtcars.csv`.
"""

import sys
import time

import numpy as np

import scorestream

# The lines that were changed. They were:
#   from azureml.deploy import DeployClient
#   from azureml.deploy.server import MLServer
#   from microsoftml.datasets.datasets import get_dataset
from example_data import get_dataset
from scorestream.mlserver import DeployClient, MLServer


def main() -> None:
    """Score the cars with the server that was named, or with one of our own."""
    if len(sys.argv) == 3:
        score_cars(sys.argv[1], ("admin", sys.argv[2]))
    else:
        with scorestream.local() as client:
            publish(client)
            score_cars(f"http://{client.address}", ("admin", client.token))


def publish(client: scorestream.Client) -> scorestream.Model:
    """Fit the linear model and register it: what ``rx_lin_mod`` and ``deploy_service`` did there."""
    cars = get_dataset("mtcars").as_df()
    inputs = np.column_stack([np.ones(len(cars)), cars["hp"], cars["wt"]])
    fitted, *_ = np.linalg.lstsq(inputs, cars["am"].to_numpy(), rcond=None)
    intercept, hp, wt = fitted.tolist()
    return client.register_model(
        "LinModService", source=f"{intercept!r} + ({hp!r}) * hp + ({wt!r}) * wt AS answer"
    )


def score_cars(host: str, context: tuple[str, str]) -> None:
    """Do what the program did; this is its text."""
    client = DeployClient(host, use=MLServer, auth=context)

    # -- Get the web service
    svc = client.get_service("LinModService", version="1.0")
    print(svc)

    # -- Import the dataset
    mtcars = get_dataset("mtcars")

    # -- Represent the dataset as a dataframe.
    mtcars = mtcars.as_df()

    # -- Define the data for the execution.
    records = mtcars[["hp", "wt"]]

    # -- Assign the record data to the batch service and set the thread count.
    batch = svc.batch(records, parallelCount=10)

    # -- Start the batch
    batch = batch.start()
    id = batch.execution_id  # noqa: A001 - the program's own name for it
    print(f"Batch execution_id is: {id}")

    batch_res = None
    while True:
        batch_res = batch.results()
        print(batch_res)
        if batch_res.state == "Failed":
            print("Batch execution failed")
            break
        if batch_res.state == "Complete":
            print("Batch execution succeeded")
            break
        print("Polling for asynchronous batch to complete...")
        time.sleep(1)

    for i in range(batch_res.total_item_count):
        print(i, mtcars.index[i], batch_res.execution(i).outputs)

    print(svc.list_batch_executions())
    print(svc.get_batch(svc.list_batch_executions()[0]).results())


if __name__ == "__main__":
    main()
