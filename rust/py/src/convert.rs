//! From Python's values to the engine's, and back.

use std::ptr::NonNull;

use autodan_core::layout::{Layout, MAX_NDIM, Shape, Strides, checked_len};
use autodan_core::storage::{Storage, Stored};
use autodan_core::{DType, Tensor, ops};
use autodan_kernels::buffer::Buffer;
use autodan_kernels::element::Bool;
use autodan_kernels::par;
use pyo3::buffer::{Element as BufferElement, PyBuffer};
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyFloat, PyInt, PyList, PyString, PyTuple, PyType};

use crate::enter::enter_attached;
use crate::error::to_python;
use crate::tensor::PyTensor;

/// `numpy`, imported once.
pub(crate) fn numpy(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static NUMPY: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    Ok(NUMPY.get_or_try_init(py, || PyModule::import(py, "numpy").map(Bound::unbind))?.bind(py))
}

fn numpy_type<'py>(
    py: Python<'py>,
    name: &'static str,
    cell: &'static PyOnceLock<Py<PyType>>,
) -> PyResult<&'py Bound<'py, PyType>> {
    cell.import(py, "numpy", name)
}

fn is_ndarray(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    static NDARRAY: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    object.is_instance(numpy_type(object.py(), "ndarray", &NDARRAY)?)
}

/// Whether it is one of NumPy's scalars, such as `np.float32(1)`.
pub(crate) fn is_numpy_scalar(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    static GENERIC: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    object.is_instance(numpy_type(object.py(), "generic", &GENERIC)?)
}

/// An operand: a tensor, or a scalar that takes the dtype of what it meets.
pub(crate) enum Operand {
    Tensor(Tensor),
    Bool(bool),
    Int(i64),
    Float(f64),
}

impl Operand {
    /// The operand that a Python object means.
    pub(crate) fn from_python(object: &Bound<'_, PyAny>) -> PyResult<Operand> {
        if let Ok(tensor) = object.cast::<PyTensor>() {
            return Ok(Operand::Tensor(tensor.get().tensor()));
        }
        if let Ok(value) = object.cast::<PyFloat>() {
            return Ok(Operand::Float(value.value()));
        }
        if let Ok(value) = object.cast::<PyBool>() {
            return Ok(Operand::Bool(value.is_true()));
        }
        if object.is_instance_of::<PyInt>() {
            return Ok(Operand::Int(integer(object)?));
        }
        if is_numpy_scalar(object)? {
            let item = object.call_method0("item")?;
            if item.is_instance_of::<PyFloat>() || item.is_instance_of::<PyInt>() {
                return Operand::from_python(&item);
            }
        }
        array(object).map(Operand::Tensor)
    }

    /// The dtype, and whether it is only a preference.
    fn dtype(&self) -> (DType, bool) {
        match self {
            Operand::Tensor(tensor) => (tensor.dtype(), false),
            Operand::Bool(_) => (DType::Bool, true),
            Operand::Int(_) => (DType::Int64, true),
            Operand::Float(_) => (DType::Float32, true),
        }
    }

    /// As a tensor next to something of `other` dtype.
    pub(crate) fn meet(self, other: DType) -> PyResult<Tensor> {
        let scalar = match self {
            Operand::Tensor(tensor) => return Ok(tensor),
            Operand::Bool(value) => Tensor::full(&[], f64::from(u8::from(value)), DType::Bool),
            Operand::Int(value) if other.is_float() => Tensor::full(&[], value as f64, other),
            Operand::Int(value) => {
                let dtype = if other == DType::Bool { DType::Int64 } else { other };
                let fits = match dtype {
                    DType::UInt8 => u8::try_from(value).is_ok(),
                    DType::Int32 => i32::try_from(value).is_ok(),
                    _ => true,
                };
                if !fits {
                    let message = format!(
                        "{value} does not fit the tensor's dtype {dtype}; convert the tensor with astype()"
                    );
                    return Err(PyOverflowError::new_err(message));
                }
                Tensor::scalar(value).and_then(|scalar| ops::cast(&scalar, dtype))
            }
            Operand::Float(value) => Tensor::full(&[], value, other.to_float()),
        };
        scalar.map_err(to_python)
    }

    /// As a tensor of its own: floats are float32, integers int64.
    pub(crate) fn into_tensor(self) -> PyResult<Tensor> {
        let (dtype, _) = self.dtype();
        self.meet(dtype)
    }
}

fn integer(object: &Bound<'_, PyAny>) -> PyResult<i64> {
    object.extract().map_err(|_| PyOverflowError::new_err(format!("{} does not fit 64 bits", shown(object))))
}

/// Two operands as tensors, scalars in the dtype of the other.
pub(crate) fn pair(a: &Bound<'_, PyAny>, b: &Bound<'_, PyAny>) -> PyResult<(Tensor, Tensor)> {
    // Nearly always; an operand that may also be a number is larger to move about.
    if let (Ok(a), Ok(b)) = (a.cast::<PyTensor>(), b.cast::<PyTensor>()) {
        return Ok((a.get().tensor(), b.get().tensor()));
    }
    let (a, b) = (Operand::from_python(a)?, Operand::from_python(b)?);
    let ((a_dtype, a_weak), (b_dtype, b_weak)) = (a.dtype(), b.dtype());
    match (a_weak, b_weak) {
        (true, false) => Ok((a.meet(b_dtype)?, b.meet(b_dtype)?)),
        (false, true) => Ok((a.meet(a_dtype)?, b.meet(a_dtype)?)),
        _ => Ok((a.into_tensor()?, b.into_tensor()?)),
    }
}

/// A tensor argument of a function: anything that can be made one.
pub(crate) struct Arg(pub(crate) Tensor);

impl<'a, 'py> FromPyObject<'a, 'py> for Arg {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Arg> {
        tensor(&object).map(Arg)
    }
}

/// Several arguments: the items of a list, a tuple or anything like them.
///
/// The vectors that PyO3 makes of sequences panic where `__len__` lies.
pub(crate) struct Items<'py>(pub(crate) Vec<Bound<'py, PyAny>>);

impl<'a, 'py> FromPyObject<'a, 'py> for Items<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Items<'py>> {
        // SAFETY: the object is alive, and this only looks at its type.
        let like_a_list = unsafe { pyo3::ffi::PySequence_Check(object.as_ptr()) } == 1;
        if !like_a_list || object.is_instance_of::<PyString>() {
            return Err(PyTypeError::new_err(format!("expected a list or a tuple, got {}", shown(&object))));
        }
        let len = object.len()?;
        object.try_iter()?.take(len).collect::<PyResult<_>>().map(Items)
    }
}

/// Several tensor arguments.
pub(crate) struct Args(pub(crate) Vec<Tensor>);

impl<'a, 'py> FromPyObject<'a, 'py> for Args {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Args> {
        let Items(items) = object.extract()?;
        items.iter().map(tensor).collect::<PyResult<_>>().map(Args)
    }
}

/// An object in a message: what `repr` gives, cut where it is long, or the type where it fails.
pub(crate) fn shown(object: &Bound<'_, PyAny>) -> String {
    const LONGEST: usize = 100;
    let kind = || object.get_type().name().map_or_else(|_| "an object".to_owned(), |name| name.to_string());
    let text = object.repr().map_or_else(|_| kind(), |text| text.to_string_lossy().into_owned());
    if text.chars().count() <= LONGEST {
        return text;
    }
    text.chars().take(LONGEST).chain("...".chars()).collect()
}

/// The tensor that an object means.
pub(crate) fn tensor(object: &Bound<'_, PyAny>) -> PyResult<Tensor> {
    Operand::from_python(object)?.into_tensor()
}

/// The tensor of an array or nested list, its elements copied.
pub(crate) fn array(object: &Bound<'_, PyAny>) -> PyResult<Tensor> {
    let py = object.py();
    let is_array = is_ndarray(object)?;
    let array = if is_array {
        object.clone()
    } else {
        check_depth(object)?;
        let described = |error: PyErr| {
            let kind = object.get_type().name().map_or_else(|_| "object".to_owned(), |name| name.to_string());
            let message = format!("cannot make a tensor of {kind}: {}", error.value(py));
            if error.is_instance_of::<PyValueError>(py) {
                PyValueError::new_err(message)
            } else if error.is_instance_of::<PyTypeError>(py) {
                PyTypeError::new_err(message)
            } else {
                error
            }
        };
        numpy(py)?.call_method1("asarray", (object,)).map_err(described)?
    };
    let dtype = array.getattr("dtype")?;
    let native = native(&dtype)?;
    if is_array
        && let Some(native) = native
        && is_aligned(&array)?
    {
        return copy_array(&array, native.name());
    }
    let (kind, size): (String, usize) =
        (dtype.getattr("kind")?.extract()?, dtype.getattr("itemsize")?.extract()?);
    // Python's floats are float32 here.
    let target = match (kind.as_str(), size) {
        ("f", 8) if !is_array && !holds_doubles(object) => "float32",
        ("f", 4) => "float32",
        ("f", 8) => "float64",
        ("f", 2) => "float32",
        ("i", 8) | ("u", 4) => "int64",
        ("i", 4) | ("i", 1 | 2) | ("u", 2) => "int32",
        ("u", 1) => "uint8",
        ("b", 1) => "bool",
        _ => {
            let message = format!(
                "cannot make a tensor of {dtype}: supported are bool, uint8, int32, int64, float32 and float64; \
                 convert with astype()"
            );
            return Err(PyTypeError::new_err(message));
        }
    };
    let usable = native.is_some_and(|native| native.name() == target) && is_aligned(&array)?;
    let array = if usable { array } else { array.call_method1("astype", (target,))? };
    copy_array(&array, target)
}

/// The dtype of elements of this one of NumPy's, in the machine's byte order; `None` if there is none.
///
/// Nearly always it is NumPy's one object for the type: to look at the attributes of another one takes longer
/// than to convert a small array. A dtype that spells the byte order out, as `newbyteorder("<")` leaves it, is
/// exported with a format that `PyBuffer` takes for another machine's.
fn native(dtype: &Bound<'_, PyAny>) -> PyResult<Option<DType>> {
    static PLAIN: PyOnceLock<Vec<(DType, Py<PyAny>)>> = PyOnceLock::new();
    let py = dtype.py();
    let plain = PLAIN.get_or_try_init(py, || {
        let numpy = numpy(py)?;
        let object = |&kind: &DType| Ok((kind, numpy.call_method1("dtype", (kind.name(),))?.unbind()));
        DType::ALL.iter().map(object).collect::<PyResult<_>>()
    })?;
    if let Some(&(kind, _)) = plain.iter().find(|(_, object)| dtype.is(object)) {
        return Ok(Some(kind));
    }
    let order: String = dtype.getattr("byteorder")?.extract()?;
    Ok(match order.as_str() {
        "=" | "|" => DType::from_name(&dtype.getattr("name")?.extract::<String>()?),
        _ => None,
    })
}

/// Whether an array's elements lie where a pointer to them may point.
fn is_aligned(array: &Bound<'_, PyAny>) -> PyResult<bool> {
    array.getattr("flags")?.getattr("aligned")?.extract()
}

/// Refuses lists nested deeper than a tensor has dimensions, and those that contain themselves, which NumPy
/// would follow for ever.
fn check_depth(object: &Bound<'_, PyAny>) -> PyResult<()> {
    let mut item = object.clone();
    for _ in 0..=MAX_NDIM {
        let first = match (item.cast::<PyList>(), item.cast::<PyTuple>()) {
            (Ok(list), _) => list.get_item(0),
            (_, Ok(tuple)) => tuple.get_item(0),
            _ => return Ok(()),
        };
        match first {
            Ok(first) => item = first,
            Err(_) => return Ok(()),
        }
    }
    let kind = object.get_type().name()?;
    let message =
        format!("cannot make a tensor of {kind}: it is nested more than {MAX_NDIM} deep, or contains itself");
    Err(PyValueError::new_err(message))
}

/// Whether a list has NumPy's doubles in it: those keep their dtype, Python's floats do not.
fn holds_doubles(object: &Bound<'_, PyAny>) -> bool {
    let Ok(mut item) = object.get_item(0) else { return object.hasattr("__array__").unwrap_or(false) };
    for _ in 0..32 {
        if item.is_instance_of::<PyFloat>() {
            return is_numpy_scalar(&item).unwrap_or(false);
        }
        if item.hasattr("dtype").unwrap_or(false) {
            return true;
        }
        match item.get_item(0) {
            Ok(inner) => item = inner,
            Err(_) => return false,
        }
    }
    false
}

/// An array without axes gets one: NumPy exports it without a shape, which `PyBuffer` refuses.
fn with_axes<'py>(array: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyAny>, bool)> {
    let scalar = array.getattr("ndim")?.extract::<usize>()? == 0;
    Ok((if scalar { array.call_method1("reshape", (1,))? } else { array.clone() }, scalar))
}

fn copy_array(array: &Bound<'_, PyAny>, dtype: &str) -> PyResult<Tensor> {
    let (array, scalar) = with_axes(array)?;
    let copied = copy_elements(&array, dtype)?;
    if scalar { ops::reshape(&copied, &[]).map_err(to_python) } else { Ok(copied) }
}

fn copy_elements(array: &Bound<'_, PyAny>, dtype: &str) -> PyResult<Tensor> {
    fn copy<T: Stored + BufferElement>(array: &Bound<'_, PyAny>) -> PyResult<Tensor> {
        let buffer = PyBuffer::<T>::get(array)?;
        let shape: Shape = buffer.shape().iter().copied().collect();
        let mut elements = Buffer::<T>::new(buffer.item_count()).map_err(|error| to_python(error.into()))?;
        if let Some(from) = buffer.as_slice(array.py()) {
            enter_attached(array.py(), || {
                for (to, from) in elements.chunks_mut(par::GRAIN).zip(from.chunks(par::GRAIN)) {
                    to.iter_mut().zip(from).for_each(|(to, from)| *to = from.get());
                    par::checkpoint();
                }
                Ok(())
            })?;
        } else if !elements.is_empty() {
            buffer.copy_to_slice(array.py(), &mut elements)?;
        }
        Tensor::from_buffer(elements, &shape).map_err(to_python)
    }
    match dtype {
        "float32" => copy::<f32>(array),
        "float64" => copy::<f64>(array),
        "int32" => copy::<i32>(array),
        "int64" => copy::<i64>(array),
        "uint8" => copy::<u8>(array),
        _ => {
            let bytes = copy::<u8>(&array.call_method1("view", ("uint8",))?)?;
            ops::cast(&bytes, DType::Bool).map_err(to_python)
        }
    }
}

/// The tensor of an array's own memory, not copied; `None` when its dtype or layout forbids that.
pub(crate) fn borrow(object: &Bound<'_, PyAny>) -> PyResult<Option<Tensor>> {
    fn view<T: Stored + BufferElement>(array: &Bound<'_, PyAny>) -> PyResult<Option<Tensor>> {
        let buffer = PyBuffer::<T>::get(array)?;
        let size = size_of::<T>() as isize;
        let shape: Shape = buffer.shape().iter().copied().collect();
        if buffer.item_count() == 0 || buffer.strides().iter().any(|stride| stride % size != 0) {
            return Ok(None);
        }
        checked_len("asarray", &shape).map_err(to_python)?;
        let strides: Strides = buffer.strides().iter().map(|stride| stride / size).collect();
        // The lowest address lies before the first element where strides are negative.
        let reach = |negative: bool| -> usize {
            shape
                .iter()
                .zip(&strides)
                .filter(|&(_, stride)| (*stride < 0) == negative)
                .map(|(&side, stride)| (side - 1) * stride.unsigned_abs())
                .sum()
        };
        let (before, after) = (reach(true), reach(false));
        let len = before + after + 1;
        let Some(first) = NonNull::new(buffer.buf_ptr().cast::<T>()) else { return Ok(None) };
        if !first.is_aligned() {
            return Ok(None);
        }
        // SAFETY: by the buffer protocol every index within the shape is readable while the buffer is
        // held, so the memory from `before` elements ahead of the first to `after` behind it is; the
        // keeper is the held buffer itself, and the pointer is aligned.
        let elements = unsafe { Buffer::borrow(first.sub(before), len, Box::new(buffer)) };
        let layout = Layout::from_parts(shape, strides, before, len);
        Ok(layout.map(|layout| Tensor::from_storage(T::wrap(elements.into()), layout)))
    }
    if !is_ndarray(object)? {
        return Ok(None);
    }
    let Some(dtype) = native(&object.getattr("dtype")?)? else { return Ok(None) };
    if !is_aligned(object)? {
        return Ok(None);
    }
    let (array, scalar) = with_axes(object)?;
    let borrowed = match dtype {
        DType::Float32 => view::<f32>(&array)?,
        DType::Float64 => view::<f64>(&array)?,
        DType::Int32 => view::<i32>(&array)?,
        DType::Int64 => view::<i64>(&array)?,
        DType::UInt8 => view::<u8>(&array)?,
        DType::Bool => None,
    };
    match borrowed {
        Some(x) if scalar => ops::reshape(&x, &[]).map(Some).map_err(to_python),
        borrowed => Ok(borrowed),
    }
}

/// A dtype argument: a name, a NumPy dtype or scalar type, or Python's `float`, `int`, `bool`.
#[derive(Clone, Copy)]
pub(crate) struct DTypeArg(pub(crate) DType);

/// The default dtype.
pub(crate) const FLOAT32: DTypeArg = DTypeArg(DType::Float32);

impl<'a, 'py> FromPyObject<'a, 'py> for DTypeArg {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<DTypeArg> {
        let py = object.py();
        let name = if let Ok(name) = object.cast::<PyString>() {
            name.to_string()
        } else if object.is(py.get_type::<PyFloat>()) {
            "float32".to_owned()
        } else if object.is(py.get_type::<PyInt>()) {
            "int64".to_owned()
        } else {
            let dtype = numpy(py)?.call_method1("dtype", (&*object,)).map_err(|_| unknown_dtype(&object))?;
            dtype.getattr("name")?.extract()?
        };
        let name = match name.as_str() {
            "float" => "float32",
            "int" => "int64",
            "double" => "float64",
            name => name,
        };
        DType::from_name(name).map(DTypeArg).ok_or_else(|| unknown_dtype(&object))
    }
}

fn unknown_dtype(object: &Bound<'_, PyAny>) -> PyErr {
    let names: Vec<&str> = DType::ALL.iter().map(|dtype| dtype.name()).collect();
    PyTypeError::new_err(format!(
        "{} is not a supported dtype; those are {}",
        shown(object),
        names.join(", ")
    ))
}

/// The name of a dtype as a Python string, made once.
pub(crate) fn dtype_name(py: Python<'_>, dtype: DType) -> Bound<'_, PyString> {
    PyString::intern(py, dtype.name())
}

/// A shape argument: an integer or a sequence of them, none negative.
pub(crate) struct ShapeArg(pub(crate) Shape);

impl<'a, 'py> FromPyObject<'a, 'py> for ShapeArg {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<ShapeArg> {
        let Signed(sides) = object.extract()?;
        sides
            .iter()
            .map(|&side| {
                usize::try_from(side)
                    .map_err(|_| PyValueError::new_err(format!("shape {sides:?} has a negative side")))
            })
            .collect::<PyResult<_>>()
            .map(ShapeArg)
    }
}

/// The most integers in a sequence of them: one for each dimension, before and after.
const MAX_SIGNED: usize = 2 * MAX_NDIM;

/// An integer or a sequence of integers.
pub(crate) struct Signed(pub(crate) Vec<i64>);

impl<'a, 'py> FromPyObject<'a, 'py> for Signed {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Signed> {
        let index = |item: &Bound<'_, PyAny>| -> PyResult<i64> {
            let number = item.call_method0("__index__").map_err(|_| {
                PyTypeError::new_err(format!(
                    "expected an integer or a sequence of integers, got {}",
                    shown(item)
                ))
            })?;
            number
                .extract()
                .map_err(|_| PyValueError::new_err(format!("{} exceeds the address space", shown(&number))))
        };
        if let Ok(items) = object.cast::<PyTuple>() {
            return items.iter().map(|item| index(&item)).collect::<PyResult<_>>().map(Signed);
        }
        if object.hasattr("__index__")? && !is_ndarray(&object)? {
            return Ok(Signed(vec![index(&object)?]));
        }
        let items = object.try_iter().map_err(|_| {
            PyTypeError::new_err(format!(
                "expected an integer or a sequence of integers, got {}",
                shown(&object)
            ))
        })?;
        // An iterator may have no end.
        let signed = items.take(MAX_SIGNED + 1).map(|item| index(&item?)).collect::<PyResult<Vec<_>>>()?;
        if signed.len() > MAX_SIGNED {
            let message = format!("expected at most {MAX_SIGNED} integers: a tensor has no more dimensions");
            return Err(PyValueError::new_err(message));
        }
        Ok(Signed(signed))
    }
}

/// An `axis` argument that is given: an integer or a sequence of them.
pub(crate) struct Axes(pub(crate) Vec<isize>);

impl<'a, 'py> FromPyObject<'a, 'py> for Axes {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Axes> {
        let Signed(axes) = object.extract()?;
        Ok(Axes(axes.into_iter().map(|axis| axis as isize).collect()))
    }
}

/// The axes of an optional argument.
pub(crate) fn axes(argument: &Option<Axes>) -> Option<&[isize]> {
    argument.as_ref().map(|Axes(axes)| &axes[..])
}

/// The scalar or nested list of a tensor's elements.
pub(crate) fn item(py: Python<'_>, tensor: &Tensor) -> PyResult<Py<PyAny>> {
    let value = tensor.item().map_err(to_python)?;
    Ok(match tensor.dtype() {
        DType::Bool => PyBool::new(py, value != 0.0).to_owned().into_any().unbind(),
        DType::Int64 => {
            let exact = tensor.to_vec::<i64>().map_err(to_python)?;
            exact.first().copied().unwrap_or_default().into_pyobject(py)?.into_any().unbind()
        }
        dtype if dtype.is_integer() => (value as i64).into_pyobject(py)?.into_any().unbind(),
        _ => value.into_pyobject(py)?.into_any().unbind(),
    })
}

/// The format of an element in the buffer protocol.
pub(crate) fn buffer_format(storage: &Storage) -> &'static std::ffi::CStr {
    match storage.dtype() {
        DType::Bool => c"?",
        DType::UInt8 => c"B",
        DType::Int32 => c"i",
        DType::Int64 => c"q",
        DType::Float32 => c"f",
        DType::Float64 => c"d",
    }
}

/// That [`Bool`] is one byte is what its buffer format says.
const _: () = assert!(size_of::<Bool>() == 1);
