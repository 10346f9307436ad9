//! Arithmetic of two tensors: the table, and the op that its rows share.
//!
//! A row is a name, its documentation, a few of its values (to four decimals), the function on
//! vectors and on integers, and the two gradients as ops on tensors (so any order of derivative exists). Operands are promoted to a
//! common dtype and broadcast; the tape sums gradients back to each operand's shape.

use std::any::Any;

use std::fmt::Debug;

use autodan_kernels::element::{Float, Number};
use autodan_kernels::elementwise::{self, Binary};
use autodan_kernels::simd::Vector;
use autodan_kernels::vecmath;

use crate::dtype::DType;
use crate::error::{Error, Result, show_shape};
use crate::layout::{Shape, broadcast_shapes};
use crate::op::{Backward, Gradients, Op, Saves, SpecRef, Specs, apply, one};
use crate::ops::{cast, compare, unary};
use crate::storage::{In, Out};
use crate::tensor::Tensor;
use crate::with_float;

/// One row of the table.
trait Rule: Copy + Debug + Send + Sync + 'static {
    const NAME: &'static str;
    const SAVES: Saves;
    /// Whether integers stay integers; else they are converted to float32 first.
    const KEEPS_INTEGERS: bool;

    fn f<V: Vector>(self, a: V, b: V) -> V;
    fn integer<T: Number>(self, a: T, b: T) -> T;
    fn da(context: &Backward<'_>) -> Result<Tensor>;
    fn db(context: &Backward<'_>) -> Result<Tensor>;
}

/// A row by name, for bindings and documentation.
pub struct BinaryInfo {
    /// The public name.
    pub name: &'static str,
    /// What it computes.
    pub doc: &'static str,
    /// Some pairs of inputs, and the function's values there to four decimals.
    pub example: (&'static [f64], &'static [f64], &'static [f64]),
    /// The function.
    pub function: fn(&Tensor, &Tensor) -> Result<Tensor>,
}

macro_rules! binary {
    ($(
        #[doc = $doc:literal]
        $name:ident $(as $public:literal)?: $rule:ident,
        [$($at1:literal),+], [$($at2:literal),+] => [$($value:literal),+],
        f($a:ident, $b:ident) = $f:expr,
        $(integer($i:ident, $j:ident) = $integer:expr,)?
        saves $saves:ident,
        da($ca:ident) = $da:expr,
        db($cb:ident) = $db:expr;
    )+) => {
        $(
            #[derive(Clone, Copy, Debug)]
            struct $rule;

            impl Rule for $rule {
                const NAME: &'static str = public!($name $($public)?);
                const SAVES: Saves = Saves::$saves;
                const KEEPS_INTEGERS: bool = present!($($integer)?);

                #[inline(always)]
                fn f<V: Vector>(self, $a: V, $b: V) -> V {
                    $f
                }
                #[inline(always)]
                fn integer<T: Number>(self, a: T, b: T) -> T {
                    $(let ($i, $j) = (a, b); return $integer;)?
                    #[allow(unreachable_code)]
                    {
                        let _ = b;
                        a
                    }
                }
                fn da($ca: &Backward<'_>) -> Result<Tensor> {
                    $da
                }
                fn db($cb: &Backward<'_>) -> Result<Tensor> {
                    $db
                }
            }

            #[doc = $doc]
            ///
            /// # Errors
            /// [`Error::Shape`] when the shapes do not broadcast, [`Error::DType`] for two bools,
            /// [`Error::Memory`].
            pub fn $name(x1: &Tensor, x2: &Tensor) -> Result<Tensor> {
                run($rule, x1, x2)
            }
        )+

        /// The rows of the table.
        // The examples are what is printed: constants to four decimals.
        #[allow(clippy::approx_constant)]
        pub const BINARY: &[BinaryInfo] =
            &[$(BinaryInfo {
                name: public!($name $($public)?),
                doc: $doc,
                example: (&[$($at1),+], &[$($at2),+], &[$($value),+]),
                function: $name,
            }),+];
    };
}

macro_rules! public {
    ($name:ident) => {
        stringify!($name)
    };
    ($name:ident $public:literal) => {
        $public
    };
}

macro_rules! present {
    () => {
        false
    };
    ($($tokens:tt)+) => {
        true
    };
}

/// The mask of where the first operand is taken by `maximum` and `minimum`, as a 0/1 tensor: ties go
/// to the first.
fn takes_first(context: &Backward<'_>, wins: fn(&Tensor, &Tensor) -> Result<Tensor>) -> Result<Tensor> {
    wins(&context.input(0)?, &context.input(1)?)
}

fn zero_like(x: &Tensor) -> Result<Tensor> {
    Tensor::full(&[], 0.0, x.dtype())
}

binary! {
    /// `x1 + x2`.
    add: Add, [1.0, 2.0], [3.0, 0.5] => [4.0, 2.5],
        f(a, b) = a.add(b), integer(a, b) = a.add(b), saves NOTHING,
        da(c) = Ok(c.grad()?.clone()),
        db(c) = Ok(c.grad()?.clone());
    /// `x1 - x2`.
    subtract: Subtract, [1.0, 2.0], [3.0, 0.5] => [-2.0, 1.5],
        f(a, b) = a.sub(b), integer(a, b) = a.sub(b), saves NOTHING,
        da(c) = Ok(c.grad()?.clone()),
        db(c) = unary::negative(c.grad()?);
    /// `x1 * x2`.
    multiply: Multiply, [1.0, 2.0], [3.0, 0.5] => [3.0, 1.0],
        f(a, b) = a.mul(b), integer(a, b) = a.mul(b), saves INPUTS,
        da(c) = multiply(c.grad()?, &c.input(1)?),
        db(c) = multiply(c.grad()?, &c.input(0)?);
    /// The true quotient `x1 / x2`, a float also for integers.
    divide: Divide, [1.0, 2.0], [4.0, 0.5] => [0.25, 4.0],
        f(a, b) = a.div(b), saves INPUTS,
        da(c) = divide(c.grad()?, &c.input(1)?),
        db(c) = {
            let (a, b) = (c.input(0)?, c.input(1)?);
            unary::negative(&divide(&multiply(c.grad()?, &divide(&a, &b)?)?, &b)?)
        };
    /// `x1 / x2`, and 0 where `x2` is 0; a float also for integers.
    divide_no_nan: DivideNoNan, [1.0, 2.0], [0.0, 4.0] => [0.0, 0.5],
        f(a, b) = V::select(b.eq(V::zero()), V::zero(), a.div(b)), saves INPUTS,
        da(c) = divide_no_nan(c.grad()?, &c.input(1)?),
        db(c) = {
            let (a, b) = (c.input(0)?, c.input(1)?);
            unary::negative(&divide_no_nan(&multiply(c.grad()?, &divide_no_nan(&a, &b)?)?, &b)?)
        };
    /// `x1` to the power `x2`.
    power: Power, [2.0, 4.0], [3.0, 0.5] => [8.0, 2.0],
        f(a, b) = vecmath::pow(a, b), integer(a, b) = integer_power(a, b), saves ALL,
        da(c) = {
            let (a, b) = (c.input(0)?, c.input(1)?);
            let one = Tensor::full(&[], 1.0, b.dtype())?;
            // d/da a^0 is 0 even at a = 0, where 0 * 0^-1 would be NaN.
            let slope = multiply(&b, &power(&a, &subtract(&b, &one)?)?)?;
            let zero = zero_like(&b)?;
            multiply(c.grad()?, &compare::select(&compare::equal(&b, &zero)?, &zero, &slope)?)
        },
        db(c) = {
            let (a, y) = (c.input(0)?, c.output(0)?);
            // d/db 0^b is 0, not 0 * log(0).
            let zero = zero_like(&a)?;
            let positive = compare::select(&compare::equal(&a, &zero)?, &Tensor::full(&[], 1.0, a.dtype())?, &a)?;
            multiply(c.grad()?, &multiply(&y, &unary::log(&positive)?)?)
        };
    /// The larger of `x1` and `x2`; NaN if either is NaN. Where they are equal the gradient goes to `x1`.
    maximum: Maximum, [1.0, 2.0], [3.0, 0.5] => [3.0, 2.0],
        f(a, b) = a.maximum(b), integer(a, b) = a.maximum(b), saves INPUTS,
        da(c) = multiply(c.grad()?, &cast(&takes_first(c, compare::greater_equal)?, c.grad()?.dtype())?),
        db(c) = multiply(c.grad()?, &cast(&compare::logical_not(&takes_first(c, compare::greater_equal)?)?, c.grad()?.dtype())?);
    /// The smaller of `x1` and `x2`; NaN if either is NaN. Where they are equal the gradient goes to `x1`.
    minimum: Minimum, [1.0, 2.0], [3.0, 0.5] => [1.0, 0.5],
        f(a, b) = a.minimum(b), integer(a, b) = a.minimum(b), saves INPUTS,
        da(c) = multiply(c.grad()?, &cast(&takes_first(c, compare::less_equal)?, c.grad()?.dtype())?),
        db(c) = multiply(c.grad()?, &cast(&compare::logical_not(&takes_first(c, compare::less_equal)?)?, c.grad()?.dtype())?);
    /// The quotient rounded toward minus infinity. No gradient flows (it is 0 almost everywhere). Integer division by 0 gives 0.
    floor_divide: FloorDivide, [7.0, -7.0], [2.0, 2.0] => [3.0, -4.0],
        f(a, b) = vecmath::floor_div(a, b), integer(a, b) = integer_divide(a, b).0, saves NOTHING,
        da(c) = multiply(c.grad()?, &zero_like(c.grad()?)?),
        db(c) = multiply(c.grad()?, &zero_like(c.grad()?)?);
    /// The remainder of the division, with the sign of `x2`. An integer modulo 0 gives 0.
    modulo as "mod": Modulo, [7.0, -7.0], [3.0, 3.0] => [1.0, 2.0],
        f(a, b) = vecmath::floor_mod(a, b), integer(a, b) = integer_divide(a, b).1, saves INPUTS,
        da(c) = Ok(c.grad()?.clone()),
        db(c) = unary::negative(&multiply(c.grad()?, &floor_divide(&c.input(0)?, &c.input(1)?)?)?);
    /// The angle of the point `(x2, x1)`, in radians.
    arctan2: Arctan2, [1.0, 0.0], [1.0, -1.0] => [0.7854, 3.1416],
        f(a, b) = vecmath::atan2(a, b), saves INPUTS,
        da(c) = {
            let (a, b) = (c.input(0)?, c.input(1)?);
            multiply(c.grad()?, &divide(&b, &add(&unary::square(&a)?, &unary::square(&b)?)?)?)
        },
        db(c) = {
            let (a, b) = (c.input(0)?, c.input(1)?);
            unary::negative(&multiply(c.grad()?, &divide(&a, &add(&unary::square(&a)?, &unary::square(&b)?)?)?)?)
        };
    /// The binary cross-entropy of `sigmoid(x1)` with targets `x2` in [0, 1]: `max(x1, 0) - x1 * x2 + log(1 + exp(-|x1|))`.
    sigmoid_cross_entropy: SigmoidCrossEntropy, [0.0, 2.0], [1.0, 1.0] => [0.6931, 0.1269],
        f(a, b) = a.maximum(V::zero()).sub(a.mul(b)).add(vecmath::log1p(vecmath::exp(a.abs().neg()))), saves INPUTS,
        da(c) = multiply(c.grad()?, &subtract(&unary::sigmoid(&c.input(0)?)?, &c.input(1)?)?),
        db(c) = unary::negative(&multiply(c.grad()?, &c.input(0)?)?);
}

/// The quotient rounded toward minus infinity and the remainder; 0 and 0 for a division by 0.
fn integer_divide<T: Number>(a: T, b: T) -> (T, T) {
    let (x, y) = (a.to_i64(), b.to_i64());
    if y == 0 {
        return (T::ZERO, T::ZERO);
    }
    let (q, r) = (x.wrapping_div(y), x.wrapping_rem(y));
    let (q, r) = if r != 0 && (r < 0) != (y < 0) { (q - 1, r + y) } else { (q, r) };
    (T::from_i64(q), T::from_i64(r))
}

/// `a^b` by squaring, wrapping around; 0 for negative exponents (but 1 and -1 keep their powers).
fn integer_power<T: Number>(a: T, b: T) -> T {
    let mut exponent = b.to_i64();
    if exponent < 0 {
        return match a.to_i64() {
            1 => T::ONE,
            -1 if exponent % 2 == 0 => T::ONE,
            -1 => a,
            _ => T::ZERO,
        };
    }
    let (mut base, mut result) = (a, T::ONE);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = result.mul(base);
        }
        base = base.mul(base);
        exponent >>= 1;
    }
    result
}

/// The shape to which two operands broadcast.
///
/// # Errors
/// [`Error::Shape`] that names both shapes.
pub(crate) fn broadcast(op: &'static str, a: &[usize], b: &[usize]) -> Result<Shape> {
    broadcast_shapes(a, b).ok_or_else(|| {
        Error::shape(
            op,
            format!(
                "shapes {} and {} do not broadcast: sides must be equal or 1, counted from the last; reshape or \
                 transpose one of them",
                show_shape(a),
                show_shape(b)
            ),
        )
    })
}

/// Brings both operands to the dtype in which they meet.
pub(crate) fn promote(x1: &Tensor, x2: &Tensor) -> Result<(Tensor, Tensor)> {
    let dtype = x1.dtype().promote(x2.dtype());
    Ok((cast(x1, dtype)?, cast(x2, dtype)?))
}

fn run<R: Rule>(rule: R, x1: &Tensor, x2: &Tensor) -> Result<Tensor> {
    let met = x1.dtype().promote(x2.dtype());
    let dtype = if R::KEEPS_INTEGERS { met } else { met.to_float() };
    if dtype == DType::Bool {
        let hint = "use logical_and, logical_or or logical_xor on bool tensors, or astype() to numbers";
        return Err(Error::DType {
            op: R::NAME,
            message: format!("bool operands have no arithmetic; {hint}"),
        });
    }
    if x1.dtype() == dtype && x2.dtype() == dtype {
        return apply(Apply(rule), &[x1, x2]);
    }
    apply(Apply(rule), &[&cast(x1, dtype)?, &cast(x2, dtype)?])
}

#[derive(Debug)]
struct Apply<R>(R);

#[derive(Clone, Copy)]
struct F<R>(R);

impl<T: Float, R: Rule> Binary<T> for F<R> {
    #[inline(always)]
    fn eval<V: Vector<Scalar = T>>(self, a: V, b: V) -> V {
        self.0.f(a, b)
    }
}

/// Whether an op is `add`.
pub(crate) fn is_add(op: &dyn Op) -> bool {
    (op as &dyn Any).is::<Apply<Add>>()
}

impl<R: Rule> Op for Apply<R> {
    fn name(&self) -> &'static str {
        R::NAME
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        let shape = broadcast(R::NAME, inputs[0].shape, inputs[1].shape)?;
        one(inputs[0].dtype, &shape)
    }

    fn is_elementwise(&self) -> bool {
        true
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        let rule = self.0;
        let dtype = inputs[0].dtype();
        let broadcasts;
        let (a, b) = if inputs[0].shape() == inputs[1].shape() {
            (inputs[0].layout(), inputs[1].layout())
        } else {
            let shape = broadcast(R::NAME, inputs[0].shape(), inputs[1].shape())?;
            broadcasts = [0, 1].map(|i: usize| inputs[i].layout().broadcast_to(&shape));
            (&broadcasts[0], &broadcasts[1])
        };
        if dtype.is_float() {
            with_float!(R::NAME, dtype, T => {
                elementwise::binary(F(rule), inputs[0].view_as::<T>(a)?, inputs[1].view_as(b)?, outputs[0].get()?);
            });
        } else {
            crate::with_number!(R::NAME, dtype, T => {
                let (a, b) = (inputs[0].view_as::<T>(a)?, inputs[1].view_as::<T>(b)?);
                elementwise::zip(a, b, outputs[0].get::<T>()?, |a, b| rule.integer(a, b));
            });
        }
        Ok(())
    }

    fn saves(&self) -> Saves {
        R::SAVES
    }

    fn vjp(&self, context: &Backward<'_>) -> Result<Gradients> {
        Ok(Gradients::from_iter([context.when(0, || R::da(context))?, context.when(1, || R::db(context))?]))
    }
}
