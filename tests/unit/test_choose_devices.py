"""Which devices a server's workers get, and what is said where one cannot be had."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorestream_server.device.choose import Cards, NoSuchDevice, choose_devices, passed_over, visible

ALL = ("GPU-aaaa-1", "GPU-aabb-2", "GPU-cccc-3")
INSTANCES = ("MIG-1111", "MIG-2222")
NO_DRIVER = Cards(why_none="no NVIDIA driver is found here (libnvidia-ml.so.1)")
NO_CARD = Cards(why_none="the NVIDIA driver is there, but it sees no card", cuda_version=13)
ONE = Cards(ALL[:1], cuda_version=12)
THREE = Cards(ALL, cuda_version=13)


@pytest.mark.parametrize(
    ("setting", "seen"),
    [
        (None, "123"),
        ("", ""),
        ("0", "1"),
        ("2,0", "31"),
        (" 1 , 2 ", "23"),
        ("0,2,-1,1", "13"),
        ("-1", ""),
        ("3", ""),
        ("1,7,0", "2"),
        ("1,1", ""),
        ("0,GPU-aaaa", ""),
        ("none", ""),
        ("void,0", ""),
        ("NoDevFiles", ""),
        ("GPU-cccc-3,GPU-aaaa-1", "31"),
        ("GPU-c", "3"),
        ("GPU-aa", ""),
        ("GPU-zz,GPU-c", ""),
        ("GPU-c,GPU-zz,GPU-aaaa", "3"),
        ("0,,1", "1"),
    ],
)
def test_cuda_visible_devices_means_what_it_means_to_cuda(setting: str | None, seen: str) -> None:
    """Indices, UUIDs and beginnings of UUIDs; the first entry that names nothing ends the list."""
    assert visible(setting, ALL) == [ALL[int(number) - 1] for number in seen]


def test_of_mig_instances_the_first_one_named_is_seen() -> None:
    """CUDA shows a process one instance of a card in MIG mode, and only where it is named."""
    assert visible(None, ALL, INSTANCES) == list(ALL)
    assert visible("MIG-2222", ALL, INSTANCES) == ["MIG-2222"]
    assert visible("MIG-2222,MIG-1111", ALL, INSTANCES) == ["MIG-2222"]
    assert visible("MIG-", ALL, INSTANCES) == []


@given(st.text(alphabet="0123456789,-GPUMIG abc", max_size=40))
def test_any_setting_gives_known_cards_each_once(setting: str) -> None:
    """Whatever is in the variable, nothing that is not there comes out, and a second look sees the same."""
    seen = visible(setting, ALL, INSTANCES)
    assert len(seen) == len(set(seen))
    assert set(seen) <= {*ALL, *INSTANCES}
    # The server hands the cards that it sees on to its workers as UUIDs.
    assert visible(",".join(seen), ALL, INSTANCES) == seen


@pytest.mark.parametrize(
    ("requested", "cards", "cupy", "chosen"),
    [
        ("cpu", THREE, True, ("cpu",)),
        ("cpu", NO_DRIVER, False, ("cpu",)),
        ("auto", NO_DRIVER, True, ("cpu",)),
        ("auto", NO_CARD, True, ("cpu",)),
        ("auto", THREE, False, ("cpu",)),
        ("auto", ONE, True, ("cuda:0",)),
        ("auto", THREE, True, ("cuda:0", "cuda:1", "cuda:2")),
        ("cuda", ONE, True, ("cuda:0",)),
        ("cuda", THREE, True, ("cuda:0", "cuda:1", "cuda:2")),
        ("cuda:1", THREE, True, ("cuda:1",)),
        ("cuda:01", THREE, True, ("cuda:1",)),
    ],
)
def test_workers_get_the_devices_that_are_there(
    requested: str, cards: Cards, cupy: bool, chosen: tuple[str, ...]
) -> None:
    """One worker a card; the CPU where no card can be used and none was asked for."""
    assert choose_devices(requested, cards, cupy=cupy) == chosen


@pytest.mark.parametrize(
    ("requested", "cards", "cupy", "said"),
    [
        ("gpu", THREE, True, "--device gpu is no device; write auto, cpu, cuda or cuda:N"),
        ("", THREE, True, "is no device"),
        ("cpu:1", THREE, True, "is no device"),
        ("cuda:", THREE, True, "is no device"),
        ("cuda:-1", THREE, True, "is no device"),
        ("cuda:1,2", THREE, True, "is no device"),
        ("cuda:x", NO_DRIVER, False, "is no device"),
        ("cuda:²", THREE, True, "is no device"),
        ("cuda", NO_DRIVER, True, "--device cuda cannot be used: no NVIDIA driver is found"),
        (
            "cuda:0",
            NO_CARD,
            True,
            "--device cuda:0 cannot be used: the NVIDIA driver is there, but it sees no card",
        ),
        ("cuda", THREE, False, r"CuPy is not installed.*pip install 'scorestream\[cuda13\]'"),
        ("cuda", ONE, False, r"pip install 'scorestream\[cuda12\]'"),
        ("cuda", Cards(ALL, cuda_version=14), False, r"pip install 'scorestream\[cuda13\]'"),
        ("cuda", Cards(ALL, cuda_version=11), False, "supports CUDA 11.*newer driver"),
        ("cuda:1", ONE, True, "cuda:1 is not there: this server may use cuda:0"),
    ],
)
def test_a_device_that_cannot_be_had_is_refused_with_the_reason(
    requested: str, cards: Cards, cupy: bool, said: str
) -> None:
    """No driver, no card, no CuPy, no such card, no such device: each says so, and what to do."""
    with pytest.raises(NoSuchDevice, match=said):
        choose_devices(requested, cards, cupy=cupy)


def test_auto_says_why_it_passes_cards_over() -> None:
    """One sentence for the log, where one package is all that is missing."""
    assert "pip install 'scorestream[cuda13]'" in passed_over("auto", THREE, cupy=False)
    assert not passed_over("auto", THREE, cupy=True)
    assert not passed_over("auto", NO_DRIVER, cupy=False)
    assert not passed_over("cpu", THREE, cupy=False)
