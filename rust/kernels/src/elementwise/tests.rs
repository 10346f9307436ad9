//! Every shape and layout of operands against one element at a time.

use super::*;
use crate::element::Bool;
use crate::isa::on_every_isa;
use crate::testing::{Array, Random, bits, row_major, same_at_any_thread_count};

#[derive(Clone, Copy)]
struct Halve;
impl<T: Float> Unary<T> for Halve {
    #[inline(always)]
    fn eval<V: Vector<Scalar = T>>(self, x: V) -> V {
        x.mul(V::constant(0.5)).sub(V::one())
    }
}

#[derive(Clone, Copy)]
struct Sub;
impl<T: Float> Binary<T> for Sub {
    #[inline(always)]
    fn eval<V: Vector<Scalar = T>>(self, a: V, b: V) -> V {
        a.sub(b)
    }
}

#[derive(Clone, Copy)]
struct Choose;
impl<T: Float> Ternary<T> for Choose {
    #[inline(always)]
    fn eval<V: Vector<Scalar = T>>(self, a: V, b: V, c: V) -> V {
        V::select(a.lt(b), c, a)
    }
}

fn check<T: Float>(seed: u64) {
    let mut random = Random(seed);
    for _ in 0..300 {
        let shape = random.shape(4);
        let [a, b, c] = [(); 3]
            .map(|()| Array::random(&mut random, &shape, true, |r| T::from_f64((r.unit() * 100.0).round())));
        let (av, bv, cv) = (a.to_vec(), b.to_vec(), c.to_vec());
        let mut y = vec![T::NAN; av.len()];
        unary(Halve, a.view(), &mut y);
        let want: Vec<T> = av.iter().map(|a| T::from_f64(a.to_f64() * 0.5 - 1.0)).collect();
        assert_eq!(y, want, "{a:?}");
        binary(Sub, a.view(), b.view(), &mut y);
        let want: Vec<T> = av.iter().zip(&bv).map(|(a, b)| a.sub(*b)).collect();
        assert_eq!(y, want, "{a:?} {b:?}");
        ternary(Choose, a.view(), b.view(), c.view(), &mut y);
        let want: Vec<T> = (0..y.len()).map(|i| if av[i] < bv[i] { cv[i] } else { av[i] }).collect();
        assert_eq!(y, want, "{a:?} {b:?} {c:?}");
        let mut y = vec![-1i64; av.len()];
        map(a.view(), &mut y, |a| a.to_f64() as i64 * 3);
        assert!((0..y.len()).all(|i| y[i] == av[i].to_f64() as i64 * 3));
        let mut y = vec![Bool::TRUE; av.len()];
        zip(a.view(), b.view(), &mut y, |a, b| (a < b).into());
        assert!((0..y.len()).all(|i| y[i].get() == (av[i] < bv[i])));
        let mut chosen = vec![T::NAN; av.len()];
        let mask = Array {
            strides: row_major(&shape),
            shape: shape.clone(),
            data: if y.is_empty() { vec![Bool::FALSE] } else { y },
            offset: 0,
        };
        zip3(mask.view(), c.view(), a.view(), &mut chosen, |m, c, a| if m.get() { c } else { a });
        assert_eq!(chosen, want);
    }
}

#[test]
fn all_layouts_agree_with_one_element_at_a_time() {
    on_every_isa(|_| {
        check::<f32>(1);
        check::<f64>(2);
    });
}

#[test]
fn large_broadcasts_agree_at_any_thread_count() {
    let mut random = Random(3);
    for (rows, columns) in [(700, 96), (5, 20_000), (50_000, 1), (20_000, 3), (300, 255), (300, 257)] {
        let a: Vec<f32> = random.floats(rows * columns, 1.0);
        let b: Vec<f32> = random.floats(rows.max(columns), 1.0);
        let (shape, dense) = ([rows, columns], [columns as isize, 1]);
        for strides in [[0, 1], [1, 0], [0, 0]] {
            let y = same_at_any_thread_count(|| {
                let mut y = vec![0.0; a.len()];
                let b = View::new(&b, 0, &shape, &strides);
                binary(Sub, View::new(&a, 0, &shape, &dense), b, &mut y);
                bits(&y)
            });
            for (i, y) in y.into_iter().enumerate() {
                let (r, c) = (i / columns, i % columns);
                let want = a[i] - b[r * strides[0] as usize + c * strides[1] as usize];
                assert_eq!(y, f64::from(want).to_bits());
            }
        }
    }
}

#[test]
fn nan_stays_in_its_place() {
    on_every_isa(|_| {
        for n in [1, 2, 7, 8, 9, 15, 16, 17, 31, 33] {
            for at in 0..n {
                let mut x = vec![1.0f32; n];
                x[at] = f32::NAN;
                let mut y = vec![0.0; n];
                unary(Halve, View::new(&x, 0, &[n], &[1]), &mut y);
                assert!((0..n).all(|i| y[i].is_nan() == (i == at)));
            }
        }
    });
}
