// Turns sums of leaves into scores, in place: average, base scores, link function, as forest_numpy.post_process does.
//
// Compiled with: LEAF (float or double), and the numbers of the post-processors, POST_IDENTITY and so on.
//
//   finish_rows   grid ceil(rows / block)   block a multiple of 32   no shared memory
//   sums            LEAF [outputs][stride]
//   divisors        LEAF [outputs]        how many trees an output is the mean of; 1 for a sum
//   base_scores     LEAF [outputs]
//   classes         int32 [targets]       the number of classes of each target
//   targets         int32
//   outputs         int32                 a multiple of targets: each is padded to the largest number of classes
//   kind            int32                 the post-processor
//   sigmoid_alpha   float64
//   ratio_c         float64
//   rows            int32
//   stride          int32

typedef LEAF Leaf;

__device__ __forceinline__ Leaf finished(int kind, Leaf sum, Leaf sigmoid_alpha, Leaf ratio_c)
{
    switch (kind) {
    case POST_SIGNED_SQUARE:
        return copysign(sum * sum, sum);
    case POST_HINGE:
        return sum > 0 ? Leaf(1) : Leaf(0);
    case POST_SIGMOID:
    case POST_MULTICLASS_OVA:
        return Leaf(1) / (exp(sum * -sigmoid_alpha) + Leaf(1));
    case POST_EXPONENTIAL:
        return exp(sum);
    case POST_EXPONENTIAL_STANDARD_RATIO:
        return exp2(-sum / ratio_c);
    case POST_LOGARITHM_ONE_PLUS_EXP:
        return log1p(exp(sum));
    default:
        return sum;
    }
}

// A row's outputs of one target become probabilities. One that is not a number makes all of them so.
__device__ __forceinline__ void softmax(Leaf* __restrict__ sums, int classes, unsigned long long stride)
{
    Leaf most = sums[0];
    for (int output = 1; output < classes; ++output) {
        const Leaf sum = sums[output * stride];
        most = sum > most ? sum : most;
    }
    Leaf total = 0;
    for (int output = 0; output < classes; ++output) {
        const Leaf power = exp(sums[output * stride] - most);
        sums[output * stride] = power;
        total += power;
    }
    for (int output = 0; output < classes; ++output) {
        sums[output * stride] /= total;
    }
}

extern "C" __global__ void finish_rows(
    Leaf* __restrict__ sums, const Leaf* __restrict__ divisors, const Leaf* __restrict__ base_scores,
    const int* __restrict__ classes, int targets, int outputs, int kind, double sigmoid_alpha, double ratio_c,
    int rows, int stride)
{
    const int row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= rows) {
        return;
    }
    Leaf* mine = sums + row;
    for (int output = 0; output < outputs; ++output) {
        Leaf* sum = mine + (unsigned long long)output * stride;
        *sum = finished(kind, *sum / divisors[output] + base_scores[output], (Leaf)sigmoid_alpha, (Leaf)ratio_c);
    }
    if (kind == POST_SOFTMAX) {
        const int width = outputs / targets;
        for (int target = 0; target < targets; ++target) {
            softmax(mine + (unsigned long long)target * width * stride, classes[target], stride);
        }
    }
}
