// Reason codes: which features moved each row's score most, and by how much. Runs the steps of reason_pack.ReasonModel
// and gives the bits of forest_reasons.explain_rows.
//
// Compiled with: LEAF_STEP, DOWN_STEP, UP_STEP (what a step does).
//
//   explain_rows     grid ceil(rows / block)   block a multiple of 32
//                    dynamic shared memory: tile * FACTORS * most_points * 8 bytes
//   edges            Edge [nodes]             to each node; of roots not read
//   steps            uint32 [steps]           node << 2 | kind
//   step_starts      int64 [trees + 1]
//   tree_points      int32 [trees]            points that are exact for the tree
//   leaves           float64 [width][nodes]
//   points, weights  float64 [most_points][most_points]
//   output_trees     int32 [][2]              trees, and which of a leaf's values
//   cells            uint16 [columns][stride], from rank_rows
//   down, up         float64 [levels][most_points][stride], memory to work in
//   satisfied        uint8 [levels][stride], likewise
//   owed             float64 [slots][stride], the result
//   first, count     int32                    which of output_trees are those of the output
//   slots, nodes, most_points, tile, rows, stride   int32
//
//   choose_reasons   grid ceil(rows / block)   block a multiple of 32   no shared memory
//   owed             float64 [slots][stride]
//   slot_features    int32 [slots]
//   contributions    float64 [reasons][stride], the result, largest first
//   features         int32 [reasons][stride], likewise
//   divisor          float64                  how many trees the output is the mean of
//   slots, reasons, rows, stride   int32

struct Edge {
    double share, earlier_share;
    int column, highest, right, slot, level, earlier;
};

constexpr int FACTORS = 5;

// What an edge does at a point: see forest_reasons._set_factors, operation by operation.
__device__ __forceinline__ void set_factors(const Edge& edge, double t, double* factors, int pitch)
{
    const double whole = edge.earlier_share * edge.share;
    const double rest = 1.0 - t;
    const double here = t + rest * whole;
    const double above = 1.0 / (t + rest * edge.earlier_share);
    const double owed_above = (1.0 - edge.earlier_share) * above;
    factors[0] = here * above;
    factors[pitch] = rest * whole * above;
    factors[2 * pitch] = edge.share;
    factors[3 * pitch] = (1.0 - whole) / here - owed_above;
    factors[4 * pitch] = -1.0 / rest - owed_above;
}

extern "C" __global__ void __launch_bounds__(1024) explain_rows(
    const Edge* __restrict__ edges, const unsigned* __restrict__ steps, const long long* __restrict__ step_starts,
    const int* __restrict__ tree_points, const double* __restrict__ leaves, const double* __restrict__ points,
    const double* __restrict__ weights, const int* __restrict__ output_trees,
    const unsigned short* __restrict__ cells, double* __restrict__ down, double* __restrict__ up,
    unsigned char* __restrict__ satisfied, double* __restrict__ owed, int first, int count, int slots, int nodes,
    int most_points, int tile, int rows, int stride)
{
    extern __shared__ __align__(16) unsigned char dynamic_shared[];
    double* factors = (double*)dynamic_shared;
    const int row = blockIdx.x * blockDim.x + threadIdx.x;
    const bool live = row < rows;
    const unsigned long long pitch = stride;
    const unsigned long long level_pitch = pitch * most_points;
    if (live) {
        satisfied[row] = 1;
        for (int slot = 0; slot < slots; ++slot) {
            owed[slot * pitch + row] = 0.0;
        }
    }
    for (int place = first; place < first + count; ++place) {
        const int tree = output_trees[2 * place];
        const double* values = leaves + (unsigned long long)output_trees[2 * place + 1] * nodes;
        const int size = tree_points[tree];
        const double* at = points + (size - 1) * most_points;
        if (live) {
            for (int point = 0; point < size; ++point) {
                down[point * pitch + row] = weights[(size - 1) * most_points + point];
                up[point * pitch + row] = 0.0;
            }
        }
        const long long end = step_starts[tree + 1];
        for (long long begin = step_starts[tree]; begin < end; begin += tile) {
            const int taken = (int)(end - begin < tile ? end - begin : tile);
            // The factors are those of all rows, so the block's threads share the work.
            __syncthreads();
            for (int work = threadIdx.x; work < taken * size; work += blockDim.x) {
                const int step = work / size;
                const int point = work % size;
                set_factors(
                    edges[steps[begin + step] >> 2], at[point], factors + step * FACTORS * most_points + point,
                    most_points);
            }
            __syncthreads();
            if (!live) {
                continue;
            }
            for (int step = 0; step < taken; ++step) {
                const unsigned node = steps[begin + step] >> 2;
                const unsigned kind = steps[begin + step] & 3;
                const Edge edge = edges[node];
                const double* mine = factors + step * FACTORS * most_points;
                const bool before = satisfied[edge.earlier * pitch + row];
                bool now;
                if (kind == UP_STEP) {
                    now = satisfied[edge.level * pitch + row];
                } else {
                    now = before && (cells[edge.column * pitch + row] > edge.highest) == (edge.right != 0);
                    satisfied[edge.level * pitch + row] = now;
                }
                const double* factor = mine + (now ? 0 : before ? most_points : 2 * most_points);
                const double* owes = mine + (now ? 3 : 4) * most_points;
                double* above_up = up + (edge.level - 1) * level_pitch + row;
                const double* above_down = down + (edge.level - 1) * level_pitch + row;
                double* here_up = up + edge.level * level_pitch + row;
                double* here_down = down + edge.level * level_pitch + row;
                double debt = owed[edge.slot * pitch + row];
                for (int point = 0; point < size; ++point) {
                    const unsigned long long far = point * pitch;
                    if (kind == DOWN_STEP) {
                        here_down[far] = above_down[far] * factor[point];
                        here_up[far] = 0.0;
                        continue;
                    }
                    const double sum =
                        kind == LEAF_STEP ? above_down[far] * factor[point] * values[node] : here_up[far];
                    above_up[far] += sum;
                    debt += sum * (before ? owes[point] : 0.0);
                }
                owed[edge.slot * pitch + row] = debt;
            }
        }
    }
}

// What is no number comes last.
__device__ __forceinline__ double size_of(double contribution)
{
    const double size = fabs(contribution);
    return size >= 0.0 ? size : -1.0;
}

extern "C" __global__ void choose_reasons(
    const double* __restrict__ owed, const int* __restrict__ slot_features, double* __restrict__ contributions,
    int* __restrict__ features, double divisor, int slots, int reasons, int rows, int stride)
{
    const int row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= rows) {
        return;
    }
    const unsigned long long pitch = stride;
    int filled = 0;
    for (int slot = 0; slot < slots; ++slot) {
        const double contribution = owed[slot * pitch + row] / divisor;
        const double size = size_of(contribution);
        int place = filled;
        while (place > 0 && size > size_of(contributions[(place - 1) * pitch + row])) {
            if (place < reasons) {
                contributions[place * pitch + row] = contributions[(place - 1) * pitch + row];
                features[place * pitch + row] = features[(place - 1) * pitch + row];
            }
            --place;
        }
        if (place < reasons) {
            contributions[place * pitch + row] = contribution;
            features[place * pitch + row] = slot_features[slot];
            filled = filled < reasons ? filled + 1 : reasons;
        }
    }
}
