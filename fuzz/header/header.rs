//! The parser of model files' headers: any bytes give a header that is written as it was read, or an error.
//!
//! `python fuzz/run.py header` builds and runs this. An input is the text of a header; its length, which few
//! changes would get right, is put in front, unless the input begins with a byte 0: then it is all there is.

#![no_main]

use autodan_core::safetensors::Header;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let bytes = match data {
        [0, whole @ ..] => whole.to_vec(),
        text => [&(text.len() as u64).to_le_bytes(), text].concat(),
    };
    match Header::parse(&bytes) {
        Ok(header) => {
            assert_eq!(header.encode().expect("what was parsed can be written"), bytes);
            let declared: Option<usize> = header.tensors().iter().try_fold(0usize, |sum, tensor| {
                let size = tensor.shape.iter().try_fold(tensor.dtype.size(), |n, &side| n.checked_mul(side));
                sum.checked_add(size?)
            });
            assert!(declared.is_some(), "the sizes overflow");
        }
        Err(error) => assert!(error.to_string().starts_with("safetensors header: ")),
    }
});
