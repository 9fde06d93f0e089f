// Quantises rows: each value becomes the number of the forest's thresholds that it has passed, or a category's code.
// Reads the tables of rank_pack.RankTables and gives the bits of forest_ranks.quantise.
//
// Compiled with: CELL (unsigned char or unsigned short), RANK_ROWS (rows a thread), BUCKETS, THRESHOLD, CATEGORY,
// CATEGORY_SET.
//
//   rank_rows   grid (ceil(stride / (RANK_ROWS * block)), used features)   block a multiple of 32
//               no shared memory
//   addresses         uint64 [features]   where each feature's column starts on the device, aligned to its type
//   wide              uint8 [features]    1 for a column of float64, 0 for one of float32
//   searches          Search [used features]
//   columns           Column [columns]
//   values            float64             RankTables.values
//   buckets           int32               RankTables.buckets
//   members           uint8               RankTables.members
//   category_floor    float64
//   strict            int32
//   rows              int32
//   stride            int32               at least rows, a multiple of 128
//   cells             CELL [columns][stride], the result; rows from `rows` on get the cells of missing values
//
// Skip the launch where a forest uses no feature.

typedef CELL Cell;

struct Search {
    double low, scale;
    long long first_value;
    int feature, steps, category, narrow, first_column, end_column;
};

struct Column {
    int kind, low, missing;
};

constexpr int MOST = sizeof(Cell) == 1 ? 255 : 65535;
constexpr int MISSING = -1;

// A step is taken by all of a thread's rows before the next one, so that their loads overlap.
template <bool PASSES_ITS_EQUAL>
__device__ __forceinline__ void search_values(
    const double* __restrict__ values, int steps, const double (&key)[RANK_ROWS], int (&rank)[RANK_ROWS])
{
    for (int step = steps - 1; step >= 0; --step) {
        const double* probes = values + ((1 << step) - 1);
#pragma unroll
        for (int k = 0; k < RANK_ROWS; ++k) {
            const double probe = __ldg(probes + rank[k]);
            const bool passed = PASSES_ITS_EQUAL ? key[k] >= probe : key[k] > probe;
            rank[k] += (int)passed << step;
        }
    }
}

__device__ __forceinline__ int cell_of(const Column& column, const unsigned char* __restrict__ members, int rank)
{
    const int place = rank == MISSING ? column.missing : rank;
    if (column.kind == CATEGORY_SET) {
        return members[column.low + place];
    }
    const int shifted = place - column.low;
    if (column.kind == CATEGORY) {
        return shifted > 0 && shifted <= MOST ? shifted : 0;
    }
    return min(max(shifted, 0), MOST);
}

extern "C" __global__ void rank_rows(
    const unsigned long long* __restrict__ addresses, const unsigned char* __restrict__ wide,
    const Search* __restrict__ searches, const Column* __restrict__ columns, const double* __restrict__ values,
    const int* __restrict__ buckets, const unsigned char* __restrict__ members, double category_floor, int strict,
    int rows, int stride, Cell* __restrict__ cells)
{
    const Search search = searches[blockIdx.y];
    const unsigned long long address = addresses[search.feature];
    const bool is_wide = wide[search.feature];
    const double not_a_number = __longlong_as_double(0x7ff8000000000000ll);
    const int first_row = blockIdx.x * blockDim.x * RANK_ROWS + threadIdx.x;

    double key[RANK_ROWS];
    int rank[RANK_ROWS];
    bool missing[RANK_ROWS];
#pragma unroll
    for (int k = 0; k < RANK_ROWS; ++k) {
        const int row = first_row + k * blockDim.x;
        key[k] = not_a_number;
        if (row < rows) {
            key[k] = is_wide ? ((const double*)address)[row] : (double)((const float*)address)[row];
        }
        if (search.narrow) {
            key[k] = (double)(float)key[k];
        }
        missing[k] = key[k] != key[k];
        if (search.category) {
            key[k] = key[k] > category_floor ? trunc(key[k]) : not_a_number;
        }
        // The next four lines are rank_pack._search, operation by operation: they must agree to the last bit.
        double place = (key[k] - search.low) * search.scale;
        place = place > 0.0 ? place : 0.0;
        place = place < BUCKETS - 1.0 ? place : BUCKETS - 1.0;
        rank[k] = __ldg(buckets + blockIdx.y * BUCKETS + (int)place);
    }
    values += search.first_value;
    if (strict || search.category) {
        search_values<true>(values, search.steps, key, rank);
    } else {
        search_values<false>(values, search.steps, key, rank);
    }
#pragma unroll
    for (int k = 0; k < RANK_ROWS; ++k) {
        if (search.category && !(rank[k] > 0 && values[max(rank[k], 1) - 1] == key[k])) {
            rank[k] = 0;
        }
        rank[k] = missing[k] ? MISSING : rank[k];
    }
    for (int at = search.first_column; at < search.end_column; ++at) {
        const Column column = columns[at];
        Cell* filled = cells + (unsigned long long)at * stride;
#pragma unroll
        for (int k = 0; k < RANK_ROWS; ++k) {
            const int row = first_row + k * blockDim.x;
            if (row < stride) {
                filled[row] = (Cell)cell_of(column, members, rank[k]);
            }
        }
    }
}
