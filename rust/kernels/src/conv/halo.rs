//! Bands of images, with zeros where they reach beyond an image.

use std::ops::Range;

use crate::buffer::{AllocError, Buffer};
use crate::element::Float;
use crate::par::Pace;

/// A batch of images in NHWC order.
#[derive(Clone, Copy)]
pub(super) struct Images<'a, T> {
    pub(super) data: &'a [T],
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
}

/// Rectangles of images, so many rows and columns at most, for a kernel that knows no edges.
///
/// Where rectangles may reach beyond the images, each is copied with its halo of zeros; otherwise it
/// is the image itself. Either way rows are at one distance, [`Bands::row`].
pub(super) struct Bands<'a, T: Float> {
    images: Images<'a, T>,
    x: Range<isize>,
    scratch: Option<Buffer<T>>,
}

impl<'a, T: Float> Bands<'a, T> {
    /// Bands of up to `rows` rows between `y`, each of the columns `x`.
    pub(super) fn new(
        images: Images<'a, T>,
        y: Range<isize>,
        x: Range<isize>,
        rows: usize,
    ) -> Result<Bands<'a, T>, AllocError> {
        let inside = |range: &Range<isize>, side: usize| range.start >= 0 && range.end <= side as isize;
        let scratch = if inside(&y, images.height) && inside(&x, images.width) {
            None
        } else {
            let len = rows.checked_mul(x.len()).and_then(|n| n.checked_mul(images.channels));
            Some(Buffer::new(len.unwrap_or(usize::MAX))?)
        };
        Ok(Bands { images, x, scratch })
    }

    /// The distance of rows in elements.
    pub(super) fn row(&self) -> usize {
        self.images.channels * if self.scratch.is_some() { self.x.len() } else { self.images.width }
    }

    /// The rows `y` of an image: a pointer to their first element, valid for reads of the rectangle
    /// until the next call.
    pub(super) fn get(&mut self, image: usize, y: Range<isize>) -> *const T {
        let Images { data, height, width, channels } = self.images;
        let size = height * width * channels;
        let pixels = &data[image * size..(image + 1) * size];
        let row = self.row();
        let Some(scratch) = &mut self.scratch else {
            assert!(y.start >= 0 && y.end <= height as isize, "a band reaches out of its image");
            return pixels.as_ptr().wrapping_add(y.start as usize * row + self.x.start as usize * channels);
        };
        // The columns that the image has, in its coordinates and in the band's.
        let first = self.x.start.clamp(0, width as isize);
        let end = self.x.end.clamp(first, width as isize);
        let left = (first - self.x.start).min(self.x.len() as isize) as usize * channels;
        let used = (end - first) as usize * channels;
        let mut pace = Pace::default();
        for (to, y) in scratch[..y.len() * row].chunks_exact_mut(row.max(1)).zip(y) {
            pace.step(row);
            if (0..height as isize).contains(&y) {
                let start = (y as usize * width + first as usize) * channels;
                to[..left].fill(T::ZERO);
                to[left..left + used].copy_from_slice(&pixels[start..start + used]);
                to[left + used..].fill(T::ZERO);
            } else {
                to.fill(T::ZERO);
            }
        }
        scratch.as_ptr()
    }
}
