//! Products against naive sums in float64.

use super::plan::{KC, in_slices};
use super::{Matrix, gemm, gemm_batched, gemm_bias, matmul_integer};
use crate::element::{Element, Float};
use crate::isa::on_every_isa;
use crate::par;
use crate::testing::{bits, same_at_any_thread_count};

const SIDES: [usize; 12] = [0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33];

/// Reproducible values in [-1, 1).
pub(crate) fn values<T: Float>(len: usize, seed: u64) -> Vec<T> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = |_| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        T::from_f64((state >> 40) as f64 / (1u64 << 23) as f64 - 1.0)
    };
    (0..len).map(next).collect()
}

/// The unit roundoff of `T`.
pub(crate) fn roundoff<T: Float>() -> f64 {
    if size_of::<T>() == 4 { f64::from(f32::EPSILON) / 2.0 } else { f64::EPSILON / 2.0 }
}

/// How a test matrix lies in memory.
#[derive(Clone, Copy, Debug)]
enum Layout {
    RowMajor,
    Transposed,
    /// Both strides larger than needed, and the rows backwards.
    Scattered,
    /// The columns backwards.
    Reversed,
}

const LAYOUTS: [Layout; 4] = [Layout::RowMajor, Layout::Transposed, Layout::Scattered, Layout::Reversed];

/// The matrix of `dense` (row-major rows x cols) laid out in `storage`.
fn lay_out<'a, T: Float>(
    dense: &[T],
    rows: usize,
    cols: usize,
    layout: Layout,
    storage: &'a mut Vec<T>,
) -> Matrix<'a, T> {
    let (offset, row, col) = match layout {
        Layout::RowMajor => (0, cols as isize, 1),
        Layout::Transposed => (0, 1, rows as isize),
        Layout::Reversed => (cols.saturating_sub(1), cols as isize, -1),
        Layout::Scattered => (rows.saturating_sub(1) * (3 * cols + 1), -(3 * cols as isize + 1), 2),
    };
    storage.clear();
    storage.resize(rows * (3 * cols + 2) + 1, T::NAN);
    for i in 0..rows {
        for j in 0..cols {
            storage[offset.wrapping_add_signed(i as isize * row + j as isize * col)] = dense[i * cols + j];
        }
    }
    Matrix::new(storage, offset, rows, cols, row, col)
}

fn check<T: Float>(a: &[T], b: &[T], c: &[T], (m, k, n): (usize, usize, usize), what: &str) {
    for i in 0..m {
        for j in 0..n {
            let products = || (0..k).map(|p| a[i * k + p].to_f64() * b[p * n + j].to_f64());
            let (want, size) = (products().sum::<f64>(), products().map(f64::abs).sum::<f64>());
            let error = (c[i * n + j].to_f64() - want).abs();
            let bound = 2.0 * k as f64 * roundoff::<T>() * size;
            assert!(error <= bound, "{what} {m}x{k}x{n} at ({i}, {j}): error {error:e} > {bound:e}");
        }
    }
}

/// All layouts of one size, which must agree to the bit; the product is within the bound.
fn check_layouts<T: Float>(m: usize, k: usize, n: usize) {
    let (a, b) = (values::<T>(m * k, 1), values::<T>(k * n, 2));
    let mut first: Option<Vec<T>> = None;
    let (mut a_storage, mut b_storage) = (Vec::new(), Vec::new());
    for a_layout in LAYOUTS {
        for b_layout in LAYOUTS {
            let mut c = vec![T::NAN; m * n];
            let a = lay_out(&a, m, k, a_layout, &mut a_storage);
            gemm(a, lay_out(&b, k, n, b_layout, &mut b_storage), &mut c).unwrap();
            match &first {
                None => {
                    check(&values::<T>(m * k, 1), &b, &c, (m, k, n), "gemm");
                    first = Some(c);
                }
                Some(first) => assert!(*first == c, "{m}x{k}x{n}: {a_layout:?} {b_layout:?} differs"),
            }
        }
    }
}

#[test]
fn small_products_match_naive_sums_in_all_layouts() {
    on_every_isa(|_| {
        for m in SIDES {
            for n in SIDES {
                for k in [0, 1, 3, 8, 17, 33] {
                    check_layouts::<f32>(m, k, n);
                }
                check_layouts::<f64>(m, 9, n);
            }
        }
    });
}

#[test]
fn large_products_match_naive_sums_in_all_layouts() {
    on_every_isa(|_| {
        for (m, k, n) in [
            (32, KC + 1, 128),
            (14, 2 * KC, 70),
            (150, 70, 200),
            (33, 300, 10),
            (1, 600, 100),
            (100, 600, 1),
            (65, 1024, 65),
            (300, 5, 530),
            // Transposed weights larger than a near cache: what is read next is asked for.
            (32, 100, 2700),
        ] {
            check_layouts::<f32>(m, k, n);
        }
        check_layouts::<f64>(40, KC + 9, 70);
    });
}

#[test]
fn threads_do_not_change_bits() {
    on_every_isa(|_| {
        let (m, k, n) = (130, 700, 260);
        let (a, b) = (values::<f32>(m * k, 3), values::<f32>(k * n, 4));
        let run = |threads: usize| {
            par::set_threads(threads);
            let mut c = vec![f32::NAN; m * n];
            let a = Matrix::new(&a, 0, m, k, k as isize, 1);
            gemm(a, Matrix::new(&b, 0, k, n, n as isize, 1), &mut c).unwrap();
            c
        };
        let one = run(1);
        for threads in [2, 3, 8] {
            assert!(one == run(threads), "{threads} threads");
        }
        par::set_threads(par::available());
    });
}

/// A product of few rows is cut along the contraction, the same rows among many are not.
#[test]
fn a_cut_of_the_contraction_changes_no_bits() {
    fn check<T: Float>(few: usize, many: usize, k: usize, n: usize) {
        assert!(in_slices(few, k, n) && !in_slices(many, k, n));
        let (a, b, bias) = (values::<T>(many * k, 1), values::<T>(k * n, 2), values::<T>(n, 3));
        for relu in [false, true] {
            let run = |m: usize| {
                let mut c = vec![T::NAN; m * n];
                let (a, b) =
                    (Matrix::new(&a, 0, m, k, k as isize, 1), Matrix::new(&b, 0, k, n, n as isize, 1));
                gemm_bias(a, b, &bias, relu, &mut c).unwrap();
                c
            };
            assert!(run(few) == run(many)[..few * n], "{few} and {many} rows, {k} steps, {n} columns");
            let (one, c) = (run(few), same_at_any_thread_count(|| bits(&run(few))));
            assert_eq!(bits(&one), c);
        }
    }
    on_every_isa(|_| {
        check::<f32>(32, 300, 1100, 128);
        check::<f32>(23, 700, 1601, 79);
        check::<f64>(9, 700, 2049, 100);
    });
}

/// Whole vectors are read where the columns of all blocks of the contraction but the last end.
#[test]
fn what_lies_beside_the_columns_reaches_no_sum() {
    on_every_isa(|_| {
        for (m, k, n, row) in [
            (32, 2400, 100, 100),
            (32, 2400, 100, 103),
            (23, 2400, 79, 120),
            (70, 2048, 10, 12),
            (70, 2048, 10, 40),
        ] {
            assert!(in_slices(m, k, n));
            let (a, b) = (values::<f32>(m * k, 1), values::<f32>(k * n, 2));
            let mut wide = vec![f32::NAN; (k - 1) * row + n];
            for (to, from) in wide.chunks_mut(row).zip(b.chunks(n)) {
                to[..n].copy_from_slice(from);
            }
            let mut c = vec![f32::NAN; m * n];
            let a_matrix = Matrix::new(&a, 0, m, k, k as isize, 1);
            gemm(a_matrix, Matrix::new(&wide, 0, k, n, row as isize, 1), &mut c).unwrap();
            check(&a, &b, &c, (m, k, n), "a view");
        }
    });
}

#[test]
fn a_nan_reaches_its_row_or_column_only() {
    on_every_isa(|_| {
        let (m, k, n) = (17, 9, 35);
        for at in 0..m * k {
            let (mut a, b) = (values::<f32>(m * k, 5), values::<f32>(k * n, 6));
            a[at] = f32::NAN;
            let mut c = vec![0.0; m * n];
            let a = Matrix::new(&a, 0, m, k, k as isize, 1);
            gemm(a, Matrix::new(&b, 0, k, n, n as isize, 1), &mut c).unwrap();
            assert!((0..m * n).all(|i| c[i].is_nan() == (i / n == at / k)));
        }
    });
}

#[test]
fn zeros_times_infinity_and_nan_are_never_skipped() {
    // Small integers have exact sums, so every element is compared with plain arithmetic to the bit.
    let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    let mut random = crate::testing::Random(9);
    let mut draw = |n: usize| -> Vec<f32> {
        let rare = 1 + random.below(40);
        (0..n)
            .map(|_| match random.below(rare) {
                0 => special[random.below(3)],
                _ => random.below(3) as f32 - 1.0,
            })
            .collect()
    };
    let (mut a_storage, mut b_storage) = (Vec::new(), Vec::new());
    for m in [1, 2, 7, 14, 15, 17, 33] {
        for n in [1, 3, 8, 15, 16, 17, 31, 33, 70] {
            for k in [1, 2, 9, 40] {
                let (a, b) = (draw(m * k), draw(k * n));
                let want = |i: usize, j: usize| (0..k).map(|p| a[i * k + p] * b[p * n + j]).sum::<f32>();
                let want: Vec<f32> = (0..m * n).map(|at| want(at / n, at % n)).collect();
                let layouts = LAYOUTS.map(|a| LAYOUTS.map(|b| (a, b)));
                on_every_isa(|_| {
                    for &(a_layout, b_layout) in layouts.as_flattened() {
                        let mut c = vec![0.5; m * n];
                        let a = lay_out(&a, m, k, a_layout, &mut a_storage);
                        gemm(a, lay_out(&b, k, n, b_layout, &mut b_storage), &mut c).unwrap();
                        let same =
                            c.iter().zip(&want).all(|(c, want)| c == want || (c.is_nan() && want.is_nan()));
                        assert!(same, "{m}x{k}x{n} {a_layout:?} {b_layout:?}: {c:?}, not {want:?}");
                    }
                });
            }
        }
    }
}

#[test]
fn broadcast_operands_are_their_copies() {
    on_every_isa(|_| {
        for (m, k, n) in [(1, 5, 9), (17, 9, 33), (40, 600, 70), (200, 3, 1)] {
            let (row, col, b) = (values::<f32>(k, 1), values::<f32>(m, 2), values::<f32>(k * n, 3));
            let b = Matrix::new(&b, 0, k, n, n as isize, 1);
            let rows: Vec<f32> = (0..m * k).map(|i| row[i % k]).collect();
            let cols: Vec<f32> = (0..m * k).map(|i| col[i / k]).collect();
            for (view, copy) in [
                (Matrix::new(&row, 0, m, k, 0, 1), rows),
                (Matrix::new(&col, 0, m, k, 1, 0), cols),
                (Matrix::new(&col, 0, m, k, 0, 0), vec![col[0]; m * k]),
            ] {
                let (mut c, mut want) = (vec![f32::NAN; m * n], vec![f32::NAN; m * n]);
                gemm(view, b, &mut c).unwrap();
                gemm(Matrix::new(&copy, 0, m, k, k as isize, 1), b, &mut want).unwrap();
                assert!(c == want, "{m}x{k}x{n}");
            }
        }
    });
}

#[test]
fn operands_larger_than_any_memory_are_errors() {
    let (one, side) = ([1.0f32], 1 << 59);
    let (a, b) = (Matrix::new(&one, 0, 1, side, 0, 0), Matrix::new(&one, 0, side, 1, 0, 0));
    assert!(gemm(a, b, &mut [0.0]).is_err());
    let one = [1i64];
    let (a, b) = (|_| Matrix::new(&one, 0, 1, side, 0, 0), |_| Matrix::new(&one, 0, side, 1, 0, 0));
    assert!(matmul_integer(1, &a, &b, &mut [0]).is_err());
}

#[test]
fn batches_are_products_one_by_one() {
    on_every_isa(|_| {
        for (batch, m, k, n) in
            [(0, 3, 4, 5), (1, 3, 4, 5), (7, 0, 4, 5), (40, 8, 33, 17), (3, 200, 210, 220)]
        {
            let (a, b) = (values::<f32>(batch * m * k, 7), values::<f32>(k * n, 8));
            let a_at = |i: usize| Matrix::new(&a, i * m * k, m, k, k as isize, 1);
            // A broadcast operand.
            let b_at = |_: usize| Matrix::new(&b, 0, k, n, n as isize, 1);
            let mut c = vec![f32::NAN; batch * m * n];
            gemm_batched(batch, &a_at, &b_at, &mut c).unwrap();
            for (i, c) in c.chunks((m * n).max(1)).enumerate().take(if m == 0 { 0 } else { batch }) {
                let mut want = vec![0.0; m * n];
                gemm(a_at(i), b_at(i), &mut want).unwrap();
                assert!(c == want, "item {i}");
            }
        }
    });
}

#[test]
fn integers_wrap_around() {
    fn product<T: Element + crate::element::Number>(
        a: &[T],
        b: &[T],
        m: usize,
        k: usize,
        n: usize,
    ) -> Vec<T> {
        let mut c = vec![T::ONE; m * n];
        let a = |_: usize| Matrix::new(a, 0, m, k, k as isize, 1);
        matmul_integer(1, &a, &|_| Matrix::new(b, 0, k, n, 1, k as isize), &mut c).unwrap();
        c
    }
    assert_eq!(product(&[1i64, 2, 3, 4], &[5, 6, 7, 8], 2, 2, 2), [17, 23, 39, 53]);
    assert_eq!(product(&[200u8, 100], &[2, 1], 1, 2, 1), [244]);
    assert_eq!(product(&[i32::MAX], &[2], 1, 1, 1), [-2]);
    assert_eq!(product::<i32>(&[], &[], 2, 0, 2), [0; 4]);
    let (m, k, n) = (70, 50, 90);
    let (a, b): (Vec<i64>, Vec<i64>) = ((0..(m * k) as i64).collect(), (0..(k * n) as i64).collect());
    let c = product(&a, &b, m, k, n);
    for i in 0..m {
        for j in 0..n {
            assert_eq!(c[i * n + j], (0..k).map(|p| a[i * k + p] * b[j * k + p]).sum::<i64>());
        }
    }
}

#[test]
#[should_panic(expected = "matrix reaches out of its data")]
fn a_matrix_must_lie_in_its_data() {
    let _ = Matrix::new(&[0.0f32; 5], 0, 2, 3, 3, 1);
}

#[test]
#[should_panic(expected = "wrong output size")]
fn a_product_too_large_to_count_is_refused() {
    let (one, side) = ([1.0f32], 1 << (usize::BITS / 2));
    // Broadcast operands need no memory; the product of their sides wraps around to 0.
    let (a, b) = (Matrix::new(&one, 0, side, 1, 0, 1), Matrix::new(&one, 0, 1, side, 1, 0));
    let _ = gemm(a, b, &mut []);
}
