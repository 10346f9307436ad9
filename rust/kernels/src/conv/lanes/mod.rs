//! Convolutions with few output channels, which would leave most lanes idle: images are the lanes.
//!
//! Sixteen images at a time become planes, `[channel][row][column][image]`. There every vector is full, whatever
//! the number of channels, and neighbouring columns are neighbours in memory: a row of a plane is the vector
//! operand of the microkernel, the weights are the broadcast one ([`correlate`]); a weight's gradient is the sum
//! of the products of two rows ([`weights`]). Bringing images into planes and back are transpositions.

mod correlate;
mod weights;

use std::ops::Range;

use crate::buffer::{AllocError, Buffer};
use crate::conv::halo::Images;
use crate::element::Float;
use crate::gemm::pack::transpose;
use crate::isa::Kernel;
use crate::par::Pace;
use crate::simd::Vector;
pub(super) use correlate::Across;
pub(super) use weights::Summed;

/// The images of a group: the lanes of the longest vectors.
const IMAGES: usize = 16;

/// The most output channels: with more, channels fill the lanes well enough.
const MAX_CHANNELS: usize = 8;

/// The most elements of the planes of a task: a part of the second-level cache.
const MAX_PLANES: usize = 128 * 1024;

/// Whether groups of images have few lanes without one.
fn fills_lanes(batch: usize) -> bool {
    let empty = (IMAGES - batch % IMAGES) % IMAGES;
    batch > 0 && empty <= batch / 4
}

/// The images of group `group` of a batch.
fn images_of(group: usize, batch: usize) -> Range<usize> {
    group * IMAGES..batch.min((group + 1) * IMAGES)
}

/// Rows of a group's images as planes, so many at most; columns that no image has are 0.
struct Planes<T: Float> {
    data: Buffer<T>,
    rows: usize,
    cols: usize,
}

impl<T: Float> Planes<T> {
    fn new(channels: usize, rows: usize, cols: usize) -> Result<Planes<T>, AllocError> {
        let mut data = Buffer::new(channels * rows * cols * IMAGES)?;
        data.fill(T::ZERO);
        Ok(Planes { data, rows, cols })
    }

    /// The distance of rows.
    fn row(&self) -> usize {
        self.cols * IMAGES
    }

    /// The distance of channels.
    fn plane(&self) -> usize {
        self.rows * self.row()
    }

    /// The rows `y` and columns `x` of the images `group`; rows that the images do not have are left as they are.
    fn enter(&mut self, images: Images<'_, T>, group: Range<usize>, y: Range<isize>, x: &Range<isize>) {
        if group.len() < IMAGES {
            self.data.fill(T::ZERO);
        }
        let inside = |range: &Range<isize>, side: usize| {
            let start = range.start.clamp(0, side as isize);
            start as usize..range.end.clamp(start, side as isize) as usize
        };
        let (rows, cols) = (inside(&y, images.height), inside(x, images.width));
        if rows.is_empty() || cols.is_empty() {
            return;
        }
        let [top, left] = [rows.start as isize - y.start, cols.start as isize - x.start].map(|n| n as usize);
        assert!(top + rows.len() <= self.rows && left + cols.len() <= self.cols, "rows out of the planes");
        assert!(
            group.end * images.height * images.width * images.channels <= images.data.len(),
            "no such image"
        );
        let (row, plane) = (self.row(), self.plane());
        T::dispatch(Enter {
            images,
            group,
            rows,
            cols,
            to: &mut self.data[top * row + left * IMAGES..],
            row,
            plane,
        });
    }
}

/// Rows and columns of images, all of which exist, into planes.
struct Enter<'a, T> {
    images: Images<'a, T>,
    group: Range<usize>,
    rows: Range<usize>,
    cols: Range<usize>,
    /// The first of them in the first plane.
    to: &'a mut [T],
    row: usize,
    plane: usize,
}

impl<T: Float> Kernel<T> for Enter<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = T>>(self) {
        let Enter { images: Images { data, height, width, channels }, group, rows, cols, to, row, plane } =
            self;
        let image = (height * width * channels) as isize;
        let mut pace = Pace::default();
        for (i, y) in rows.enumerate() {
            pace.step(cols.len() * channels * IMAGES);
            let from = data[((group.start * height + y) * width + cols.start) * channels..].as_ptr();
            let to = to[i * row..].as_mut_ptr();
            // SAFETY: `Planes::enter` has checked that these pixels of these images exist, and that the planes
            // have their places.
            unsafe {
                if channels == 1 {
                    transpose::<V>(from, image, group.len(), cols.len(), to, IMAGES);
                } else {
                    for q in 0..cols.len() {
                        let (from, to) = (from.add(q * channels), to.add(q * IMAGES));
                        transpose::<V>(from, image, group.len(), channels, to, plane);
                    }
                }
            }
        }
    }
}
