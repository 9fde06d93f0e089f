// Sums the leaves that quantised rows fall into. Every output's leaves are added in the order of the trees and in
// the leaves' own type, so the sums have the bits of forest_numpy.margins on any device and for any launch.
//
// Compiled with: CELL (unsigned char or unsigned short), NODE_BITS (32 or 64), LEAF (float or double), and
// VECTOR_LEAVES (0: one value a leaf; 1: `width` values).
//
// A node of 32 bits: distance to the left child << 16 | column << 8 | highest cell that goes left.
// A node of 64 bits: left child << 32 | column << 16 | highest cell that goes left.
// The right child is behind the left one. A leaf is its own left child, and no cell is above its highest.
//
// Three kernels with the same arguments:
//
//   walk_staged   grid ceil(stride / (block * WALK_ROWS))   block a multiple of 32
//                 dynamic shared memory: columns * block * 4 bytes
//   walk_global   the same grid and block; no shared memory. For more columns than shared memory holds.
//   walk_row      grid rows: one block a row, its threads over trees. For few rows. block: a multiple of 32;
//                 dynamic shared memory: block * 8 + columns * sizeof(CELL) bytes. Fills the first `grid` rows.
//
//   nodes           uint32 or uint64 [nodes]
//   trees           Tree [tree_count], 16-byte aligned; one value a leaf: ordered by output, then as in the forest
//   output_starts   int32 [outputs + 1]   one value a leaf: the first tree of each output. Not read otherwise
//   leaves          LEAF [nodes][width]
//   cells           CELL [columns][stride], 16-byte aligned, from rank_rows
//   sums            LEAF [outputs][stride], 16-byte aligned, the result; all of it is written
//   tree_count      int32
//   outputs         int32
//   width           int32                 values a leaf; 1 unless VECTOR_LEAVES
//   columns         int32
//   stride          int32                 a multiple of 128
//
// Where a forest uses no feature, `cells` is not read and may be any address.

typedef CELL Cell;
typedef LEAF Leaf;

// A thread's rows are neighbours, and their cells of a column are 4 bytes together. So, with a multiple of 32 threads,
// thread l of a warp reads bank l of shared memory whatever columns its rows ask for.
constexpr int WALK_ROWS = 4 / sizeof(Cell);
// Four walks at a time hide each other's loads; where two rows fill 4 bytes, they walk two trees.
constexpr int TREES = 4 / WALK_ROWS;
// Between looks at whether all walks of a thread have come to their leaves.
constexpr int STEPS = 4;

struct __align__(16) Tree {
    int root, depth, output, step;
};

struct __align__(sizeof(Leaf) * WALK_ROWS < 16 ? sizeof(Leaf) * WALK_ROWS : 16) Rows {
    Leaf value[WALK_ROWS];
};

#if NODE_BITS == 32
typedef unsigned int Node;
__device__ __forceinline__ unsigned column_of(Node node) { return (node >> 8) & 0xff; }
__device__ __forceinline__ unsigned highest_of(Node node) { return node & 0xff; }
__device__ __forceinline__ unsigned child_of(Node node, unsigned at) { return at + (node >> 16); }
#else
typedef unsigned long long Node;
__device__ __forceinline__ unsigned column_of(Node node) { return (unsigned)node >> 16; }
__device__ __forceinline__ unsigned highest_of(Node node) { return (unsigned)node & 0xffff; }
__device__ __forceinline__ unsigned child_of(Node node, unsigned) { return (unsigned)(node >> 32); }
#endif

// The cells of a thread's rows: `pitch` bytes from column to column, in shared memory (32-bit offsets) or not.
template <class Offset>
struct Tile {
    const unsigned char* first;
    unsigned pitch;

    __device__ __forceinline__ unsigned cell(unsigned column, int row) const
    {
        return ((const Cell*)(first + (Offset)column * pitch))[row];
    }
};

template <int WALKS, class Offset>
__device__ __forceinline__ unsigned take_step(
    const Node* __restrict__ nodes, const Tile<Offset>& tile, unsigned (&at)[WALKS])
{
    unsigned moved = 0;
#pragma unroll
    for (int k = 0; k < WALKS; ++k) {
        const Node node = __ldg(nodes + at[k]);
        const unsigned cell = tile.cell(column_of(node), k % WALK_ROWS);
        const unsigned next = child_of(node, at[k]) + (cell > highest_of(node));
        moved |= next ^ at[k];
        at[k] = next;
    }
    return moved;
}

// Walks from the roots in `at` to the leaves.
template <int WALKS, class Offset>
__device__ __forceinline__ void walk(
    const Node* __restrict__ nodes, const Tile<Offset>& tile, unsigned (&at)[WALKS], int depth)
{
#pragma unroll 1
    while (depth > STEPS) {
#pragma unroll
        for (int step = 1; step < STEPS; ++step) {
            take_step(nodes, tile, at);
        }
        if (!take_step(nodes, tile, at)) {
            return;
        }
        depth -= STEPS;
    }
#pragma unroll 1
    for (; depth > 0; --depth) {
        take_step(nodes, tile, at);
    }
}

// Walks `TREES` trees from `place` on, or as many as there are before `end`.
template <class Offset>
__device__ __forceinline__ void walk_trees(
    const Node* __restrict__ nodes, const Tree* __restrict__ trees, const Tile<Offset>& tile, int place, int end,
    Tree (&walked)[TREES], unsigned (&at)[TREES * WALK_ROWS])
{
    int depth = 0;
#pragma unroll
    for (int tree = 0; tree < TREES; ++tree) {
        walked[tree] = trees[min(place + tree, end - 1)];
        depth = max(depth, walked[tree].depth);
#pragma unroll
        for (int row = 0; row < WALK_ROWS; ++row) {
            at[tree * WALK_ROWS + row] = walked[tree].root;
        }
    }
    walk(nodes, tile, at, depth);
}

template <class Offset>
__device__ __forceinline__ void sum_rows(
    const Node* __restrict__ nodes, const Tree* __restrict__ trees, const int* __restrict__ output_starts,
    const Leaf* __restrict__ leaves, const Tile<Offset>& tile, Leaf* __restrict__ sums, int tree_count, int outputs,
    int width, int stride, int row)
{
    Tree walked[TREES];
    unsigned at[TREES * WALK_ROWS];
#if VECTOR_LEAVES
    for (int output = 0; output < outputs; ++output) {
        *(Rows*)(sums + (unsigned long long)output * stride + row) = Rows();
    }
    for (int place = 0; place < tree_count; place += TREES) {
        walk_trees(nodes, trees, tile, place, tree_count, walked, at);
#pragma unroll
        for (int tree = 0; tree < TREES && place + tree < tree_count; ++tree) {
#pragma unroll 1
            for (int value = 0; value < width; ++value) {
                const int output = walked[tree].output + value * walked[tree].step;
                Rows* total = (Rows*)(sums + (unsigned long long)output * stride + row);
                Rows rows = *total;
#pragma unroll
                for (int k = 0; k < WALK_ROWS; ++k) {
                    const unsigned leaf = at[tree * WALK_ROWS + k];
                    rows.value[k] += __ldg(leaves + (unsigned long long)leaf * width + value);
                }
                *total = rows;
            }
        }
    }
#else
    for (int output = 0; output < outputs; ++output) {
        const int end = output_starts[output + 1];
        Rows total = Rows();
        for (int place = output_starts[output]; place < end; place += TREES) {
            walk_trees(nodes, trees, tile, place, end, walked, at);
#pragma unroll
            for (int tree = 0; tree < TREES && place + tree < end; ++tree) {
#pragma unroll
                for (int k = 0; k < WALK_ROWS; ++k) {
                    total.value[k] += __ldg(leaves + at[tree * WALK_ROWS + k]);
                }
            }
        }
        *(Rows*)(sums + (unsigned long long)output * stride + row) = total;
    }
#endif
}

extern "C" __global__ void walk_staged(
    const Node* __restrict__ nodes, const Tree* __restrict__ trees, const int* __restrict__ output_starts,
    const Leaf* __restrict__ leaves, const Cell* __restrict__ cells, Leaf* __restrict__ sums, int tree_count,
    int outputs, int width, int columns, int stride)
{
    extern __shared__ __align__(16) unsigned char dynamic_shared[];
    const int row = (blockIdx.x * blockDim.x + threadIdx.x) * WALK_ROWS;
    if (row >= stride) {
        return;
    }
    // A thread reads only the cells that it has copied itself, so there is no barrier.
    unsigned* mine = (unsigned*)dynamic_shared + threadIdx.x;
    for (int column = 0; column < columns; ++column) {
        mine[column * blockDim.x] = *(const unsigned*)(cells + (unsigned long long)column * stride + row);
    }
    const Tile<unsigned> tile = {(const unsigned char*)mine, blockDim.x * 4};
    sum_rows(nodes, trees, output_starts, leaves, tile, sums, tree_count, outputs, width, stride, row);
}

extern "C" __global__ void walk_global(
    const Node* __restrict__ nodes, const Tree* __restrict__ trees, const int* __restrict__ output_starts,
    const Leaf* __restrict__ leaves, const Cell* __restrict__ cells, Leaf* __restrict__ sums, int tree_count,
    int outputs, int width, int, int stride)
{
    const int row = (blockIdx.x * blockDim.x + threadIdx.x) * WALK_ROWS;
    if (row >= stride) {
        return;
    }
    const Tile<unsigned long long> tile = {(const unsigned char*)(cells + row), stride * (unsigned)sizeof(Cell)};
    sum_rows(nodes, trees, output_starts, leaves, tile, sums, tree_count, outputs, width, stride, row);
}

extern "C" __global__ void walk_row(
    const Node* __restrict__ nodes, const Tree* __restrict__ trees, const int* __restrict__ output_starts,
    const Leaf* __restrict__ leaves, const Cell* __restrict__ cells, Leaf* __restrict__ sums, int tree_count,
    int outputs, int width, int columns, int stride)
{
    extern __shared__ __align__(16) unsigned char dynamic_shared[];
    Cell* staged = (Cell*)(dynamic_shared + blockDim.x * 8);
    Leaf* mine = sums + blockIdx.x;
    for (int column = threadIdx.x; column < columns; column += blockDim.x) {
        staged[column] = cells[(unsigned long long)column * stride + blockIdx.x];
    }
    for (int output = threadIdx.x; output < outputs; output += blockDim.x) {
        mine[(unsigned long long)output * stride] = 0;
    }
    const Tile<unsigned> tile = {(const unsigned char*)staged, (unsigned)sizeof(Cell)};
    for (int first = 0; first < tree_count; first += blockDim.x) {
        const int place = first + threadIdx.x;
        const int end = min(first + (int)blockDim.x, tree_count);
        unsigned at[1];
        __syncthreads();
        if (place < end) {
            at[0] = trees[place].root;
            walk(nodes, tile, at, trees[place].depth);
#if VECTOR_LEAVES
            ((unsigned*)dynamic_shared)[threadIdx.x] = at[0];
#else
            ((Leaf*)dynamic_shared)[threadIdx.x] = leaves[at[0]];
#endif
        }
        __syncthreads();
#if VECTOR_LEAVES
        // Each output belongs to one of the values of a leaf (cuda_forest sees to it), so to one thread.
        for (int value = threadIdx.x; value < width; value += blockDim.x) {
            int output = -1;
            Leaf total = 0;
            for (int tree = first; tree < end; ++tree) {
                const int added_to = trees[tree].output + value * trees[tree].step;
                if (added_to != output) {
                    if (output >= 0) {
                        mine[(unsigned long long)output * stride] = total;
                    }
                    output = added_to;
                    total = mine[(unsigned long long)output * stride];
                }
                const unsigned leaf = ((const unsigned*)dynamic_shared)[tree - first];
                total += leaves[(unsigned long long)leaf * width + value];
            }
            mine[(unsigned long long)output * stride] = total;
        }
#else
        for (int output = threadIdx.x; output < outputs; output += blockDim.x) {
            const int stop = min(output_starts[output + 1], end);
            Leaf total = mine[(unsigned long long)output * stride];
            for (int tree = max(output_starts[output], first); tree < stop; ++tree) {
                total += ((const Leaf*)dynamic_shared)[tree - first];
            }
            mine[(unsigned long long)output * stride] = total;
        }
#endif
    }
}
