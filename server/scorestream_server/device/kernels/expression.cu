// Score code, fused: a thread computes all nodes of a program for one row, in registers. Follows operations.py; the
// values come out with NumPy's bits, but for exp, log and pow, which differ in the last places.
//
// Compiled with: BLOCK, MICROSECONDS_A_DAY, and BODY, the statements that cuda_expression.py writes.
//
//   expression_rows   grid (ceil(rows / BLOCK))   block BLOCK   no shared memory
//   columns           uint64 [inputs + outputs][2], aligned to 16 bytes: where arrays of `rows` start, each aligned to
//                     its type. For an input: its values, in the type that the kernel was made for (a flag is a byte),
//                     and its null mask of bytes, not 0 where the value is NULL; 0 instead of a mask without any.
//                     For an output: where its values go (float64, int64, or a byte for a flag), and its null mask of
//                     bytes, 1 where the value is NULL, else 0
//   rows              int32, at least 1

template <class T>
struct Maybe {
    T value;
    bool null;
};

typedef Maybe<bool> Bool;
typedef Maybe<long long> Int;
typedef Maybe<double> Float;
typedef unsigned long long Bits;

#define INLINE __device__ __forceinline__

__device__ const unsigned char NOT_NULL = 0;

// One 16-byte load: with two of 8 bytes, NVRTC takes three times as long for hundreds of columns. Without a branch, so
// that the loads of many columns are under way together.
template <class Value, class Stored>
INLINE Value load(const ulonglong2* __restrict__ columns, int place, unsigned row)
{
    const ulonglong2 column = __ldg(columns + place);
    const unsigned char* nulls = (const unsigned char*)column.y;
    return {(decltype(Value::value))__ldg((const Stored*)column.x + row),
            __ldg(nulls ? nulls + row : &NOT_NULL) != 0};
}

template <class Stored, class T>
INLINE void store(const ulonglong2* __restrict__ columns, int place, unsigned row, Maybe<T> result)
{
    const ulonglong2 column = __ldg(columns + place);
    ((Stored*)column.x)[row] = (Stored)result.value;
    ((unsigned char*)column.y)[row] = result.null;
}

// Functions of hundreds of instructions are called. Inlined a few hundred times they take NVRTC minutes.
#define CALLED __device__ __noinline__

CALLED double far_exp(double a) { return exp(a); }
CALLED double far_log(double a) { return log(a); }
CALLED double far_log2(double a) { return log2(a); }
CALLED double far_log10(double a) { return log10(a); }
CALLED double far_pow(double a, double b) { return pow(a, b); }
CALLED double far_fmod(double a, double b) { return fmod(a, b); }

INLINE double from_bits(Bits bits) { return __longlong_as_double((long long)bits); }

INLINE bool is_nan(double value) { return value != value; }

INLINE bool is_finite(double value) { return value - value == 0.0; }

// int64 wraps around, which C++ promises of unsigned numbers only.

INLINE long long wrapped_product(long long a, long long b) { return (long long)((Bits)a * (Bits)b); }

INLINE long long wrapped_absolute(long long a) { return a < 0 ? (long long)(0 - (Bits)a) : a; }

template <class T>
INLINE bool either_null(Maybe<T> a, Maybe<T> b)
{
    return a.null || b.null;
}

INLINE Int op_add(Int a, Int b) { return {(long long)((Bits)a.value + (Bits)b.value), either_null(a, b)}; }
INLINE Int op_sub(Int a, Int b) { return {(long long)((Bits)a.value - (Bits)b.value), either_null(a, b)}; }
INLINE Int op_mul(Int a, Int b) { return {wrapped_product(a.value, b.value), either_null(a, b)}; }
INLINE Int op_neg(Int a) { return {(long long)(0 - (Bits)a.value), a.null}; }
INLINE Int op_abs(Int a) { return {wrapped_absolute(a.value), a.null}; }
INLINE Int op_sign(Int a) { return {(a.value > 0) - (a.value < 0), a.null}; }

INLINE Float op_add(Float a, Float b) { return {a.value + b.value, either_null(a, b)}; }
INLINE Float op_sub(Float a, Float b) { return {a.value - b.value, either_null(a, b)}; }
INLINE Float op_mul(Float a, Float b) { return {a.value * b.value, either_null(a, b)}; }
INLINE Float op_neg(Float a) { return {-a.value, a.null}; }
INLINE Float op_abs(Float a) { return {fabs(a.value), a.null}; }
INLINE Float op_floor(Float a) { return {floor(a.value), a.null}; }
INLINE Float op_ceil(Float a) { return {ceil(a.value), a.null}; }
INLINE Float op_exp(Float a) { return {far_exp(a.value), a.null}; }

INLINE Float op_sign(Float a)
{
    const double sign = a.value > 0.0 ? 1.0 : a.value < 0.0 ? -1.0 : 0.0;
    return {is_nan(a.value) ? a.value : sign, a.null};
}

// What has no value is NULL.

INLINE Float op_div(Float a, Float b) { return {a.value / b.value, either_null(a, b) || b.value == 0.0}; }
INLINE Float op_mod(Float a, Float b) { return {far_fmod(a.value, b.value), either_null(a, b) || b.value == 0.0}; }
INLINE Float op_ln(Float a) { return {far_log(a.value), a.null || a.value <= 0.0}; }
INLINE Float op_log2(Float a) { return {far_log2(a.value), a.null || a.value <= 0.0}; }
INLINE Float op_log10(Float a) { return {far_log10(a.value), a.null || a.value <= 0.0}; }
INLINE Float op_sqrt(Float a) { return {sqrt(a.value), a.null || a.value < 0.0}; }

INLINE Int op_mod(Int a, Int b)
{
    // By 0 it has no value, and C++ does not define the least int64 modulo -1, which is 0 as for all others.
    const bool whole = b.value == 0 || b.value == -1;
    return {whole ? 0 : a.value % b.value, either_null(a, b) || b.value == 0};
}

INLINE Float op_power(Float a, Float b)
{
    const double power = far_pow(a.value, b.value);
    const bool unreal = is_nan(power) && !is_nan(a.value) && !is_nan(b.value);
    return {power, either_null(a, b) || unreal || (a.value == 0.0 && b.value < 0.0)};
}

INLINE double half_away(double value)
{
    const double whole = trunc(value);
    // Adding 0.5 first would round 0.49999999999999994 up; the distance to the whole number is exact.
    return fabs(value - whole) >= 0.5 ? whole + copysign(1.0, value) : whole;
}

INLINE Float round_whole(Float a) { return {half_away(a.value), a.null}; }

INLINE Float round_places(Float a, double scale)
{
    const double rounded = half_away(a.value * scale) / scale;
    return {is_finite(rounded) ? rounded : a.value, a.null};
}

INLINE Float round_tens(Float a, double scale)
{
    const double rounded = half_away(a.value / scale) * scale;
    return {is_finite(rounded) ? rounded : a.value, a.null};
}

INLINE Int op_min(Int a, Int b) { return {a.value < b.value ? a.value : b.value, either_null(a, b)}; }
INLINE Int op_max(Int a, Int b) { return {a.value > b.value ? a.value : b.value, either_null(a, b)}; }

// NaN is passed on.

INLINE Float op_min(Float a, Float b)
{
    return {is_nan(a.value) || a.value < b.value ? a.value : b.value, either_null(a, b)};
}

INLINE Float op_max(Float a, Float b)
{
    return {is_nan(a.value) || a.value > b.value ? a.value : b.value, either_null(a, b)};
}

// A comparison with NaN is unknown.

template <class T>
INLINE bool unknown(Maybe<T> a)
{
    return a.null;
}

INLINE bool unknown(Float a) { return a.null || is_nan(a.value); }

#define COMPARISON(NAME, SIGN)                                      \
    template <class T>                                              \
    INLINE Bool NAME(Maybe<T> a, Maybe<T> b)                        \
    {                                                               \
        return {a.value SIGN b.value, unknown(a) || unknown(b)};    \
    }

COMPARISON(op_eq, ==)
COMPARISON(op_ne, !=)
COMPARISON(op_lt, <)
COMPARISON(op_le, <=)
COMPARISON(op_gt, >)
COMPARISON(op_ge, >=)

template <class T>
INLINE Bool in_none(Maybe<T> a)
{
    return {false, unknown(a)};
}

INLINE bool is_true(Bool a) { return a.value && !a.null; }

INLINE bool is_false(Bool a) { return !a.value && !a.null; }

INLINE Bool op_not(Bool a) { return {!a.value, a.null}; }

INLINE Bool op_and(Bool a, Bool b)
{
    const bool value = is_true(a) && is_true(b);
    return {value, !(value || is_false(a) || is_false(b))};
}

INLINE Bool op_or(Bool a, Bool b)
{
    const bool value = is_true(a) || is_true(b);
    return {value, !(value || (is_false(a) && is_false(b)))};
}

template <class T>
INLINE Bool op_is_null(Maybe<T> a)
{
    return {a.null, false};
}

template <class T>
INLINE Maybe<T> op_if(Bool condition, Maybe<T> a, Maybe<T> b)
{
    const bool first = is_true(condition);
    return {first ? a.value : b.value, first ? a.null : b.null};
}

template <class T>
INLINE Maybe<T> op_coalesce(Maybe<T> a, Maybe<T> b)
{
    return {a.null ? b.value : a.value, a.null && b.null};
}

template <class T>
INLINE Bool to_bool(Maybe<T> a)
{
    return {a.value != 0, unknown(a)};
}

template <class T>
INLINE Float to_float(Maybe<T> a)
{
    return {(double)a.value, a.null};
}

template <class T>
INLINE Int to_int(Maybe<T> a)
{
    return {(long long)a.value, a.null};
}

INLINE Int to_int(Float a)
{
    const double whole = trunc(a.value);
    const bool fits = whole >= -0x1p63 && whole < 0x1p63;
    return {fits ? (long long)whole : 0, a.null || !fits};
}

INLINE Int to_timestamp(Int days)
{
    const bool fits = wrapped_absolute(days.value) <= 0x7fffffffffffffffll / MICROSECONDS_A_DAY;
    return {wrapped_product(days.value, MICROSECONDS_A_DAY), days.null || !fits};
}

INLINE Int to_date(Int microseconds)
{
    const long long days = microseconds.value / MICROSECONDS_A_DAY;
    return {days - (microseconds.value % MICROSECONDS_A_DAY < 0), microseconds.null};
}

extern "C" __global__ void __launch_bounds__(BLOCK)
    expression_rows(const ulonglong2* __restrict__ columns, int rows)
{
    const unsigned row = blockIdx.x * BLOCK + threadIdx.x;
    if (row >= (unsigned)rows) {
        return;
    }
    BODY
}
