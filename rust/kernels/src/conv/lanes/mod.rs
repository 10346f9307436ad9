//! Convolutions with few output channels, which would leave most lanes idle: images are the lanes.
//!
//! Sixteen images at a time become `[row][column][channel][image]`, so that every vector is full, whatever the
//! number of channels: an output is a sum of pixels times weights, each one for all lanes ([`correlate`]); a
//! weight's gradient is the sum of the products of two pixels ([`weights`]). Rows are transposed to bring images
//! there and back, which must be worth it.

mod correlate;
mod weights;

use std::ops::Range;

use crate::buffer::{AllocError, Buffer};
use crate::conv::halo::Images;
use crate::element::Float;
use crate::gemm::kernel::Limits;
use crate::gemm::pack::{Gather, Strided};
use crate::par::Pace;
pub(super) use correlate::Across;
pub(super) use weights::Summed;

/// The images of a group: the lanes of the longest vectors.
const IMAGES: usize = 16;

/// The most output channels: with more, channels fill the lanes well enough.
const MAX_CHANNELS: usize = 6;

/// The multiply-adds that it costs to bring an element into a group or back.
const MOVE: usize = 20;

/// The most elements that a tile may read: less than the first-level cache.
const MAX_TILE: usize = 10 * 1024;

/// The most elements that a task has of a group at a time: a part of the second-level cache.
const MAX_ELEMENTS: usize = 128 * 1024;

/// Whether a batch is cut into groups that have few lanes without an image.
fn fills_lanes(batch: usize) -> bool {
    let empty = (IMAGES - batch % IMAGES) % IMAGES;
    batch > 0 && empty <= batch / 4
}

/// Whether the lanes that kernels of so many taps, input and output channels would leave idle are worth more
/// than the way into a group and back.
fn is_worth<T: Float>(taps: usize, inputs: usize, outputs: usize) -> bool {
    let idle = Limits::of::<T>().lanes.saturating_sub(outputs);
    let lost = taps.saturating_mul(inputs).saturating_mul(idle);
    outputs <= MAX_CHANNELS && lost > 0 && lost >= inputs.saturating_add(outputs).saturating_mul(MOVE)
}

/// The images of group `group` of a batch.
fn images_of(group: usize, batch: usize) -> Range<usize> {
    group * IMAGES..batch.min((group + 1) * IMAGES)
}

/// Rows of a group's images, so many at most; columns that no image has are 0.
struct Group<T: Float> {
    data: Buffer<T>,
    cols: usize,
    channels: usize,
}

impl<T: Float> Group<T> {
    fn new(rows: usize, cols: usize, channels: usize) -> Result<Group<T>, AllocError> {
        let mut data = Buffer::new(rows * cols * channels * IMAGES)?;
        data.fill(T::ZERO);
        Ok(Group { data, cols, channels })
    }

    /// The distance of columns.
    fn pixel(&self) -> usize {
        self.channels * IMAGES
    }

    /// The distance of rows.
    fn row(&self) -> usize {
        self.cols * self.pixel()
    }

    /// The rows `y` and columns `x` of these images; rows that the images do not have are left as they are.
    fn enter(&mut self, images: Images<'_, T>, which: Range<usize>, y: Range<isize>, x: &Range<isize>) {
        if which.len() < IMAGES {
            self.data.fill(T::ZERO);
        }
        let inside = |range: &Range<isize>, side: usize| {
            let start = range.start.clamp(0, side as isize);
            start as usize..range.end.clamp(start, side as isize) as usize
        };
        let (rows, cols) = (inside(&y, images.height), inside(x, images.width));
        let size = images.height * images.width * images.channels;
        let len = cols.len() * images.channels;
        let left = (cols.start as isize - x.start) as usize * self.pixel();
        let mut pace = Pace::default();
        for row in rows.filter(|_| len > 0) {
            pace.step(len * IMAGES);
            let first = (row * images.width + cols.start) * images.channels;
            assert!(first + len <= size && which.end * size <= images.data.len(), "pixels that no image has");
            let from = Strided {
                ptr: images.data[which.start * size + first..].as_ptr(),
                rows: len,
                cols: which.len(),
                row_stride: 1,
                col_stride: size as isize,
            };
            let to = (row as isize - y.start) as usize * self.row() + left;
            let to = &mut self.data[to..to + len * IMAGES];
            // SAFETY: each of the images has these elements, and the group their places.
            T::dispatch(unsafe { Gather::new(from, to.as_mut_ptr(), IMAGES) });
        }
    }
}
