//! Which views are accepted, and what they say about themselves.

use super::*;

fn refuses<R>(f: impl FnOnce() -> R + std::panic::UnwindSafe) -> bool {
    std::panic::catch_unwind(f).is_err()
}

#[test]
fn contiguity_ignores_axes_of_one_element() {
    let data: Vec<i32> = (0..24).collect();
    assert_eq!(View::new(&data, 0, &[2, 3, 4], &[12, 4, 1]).as_slice(), Some(&data[..]));
    assert_eq!(View::new(&data, 0, &[2, 1, 12], &[12, 99, 1]).as_slice(), Some(&data[..]));
    assert_eq!(View::new(&data, 5, &[], &[]).as_slice(), Some(&data[5..6]));
    assert_eq!(View::new(&data, 99, &[3, 0], &[7, 7]).as_slice(), Some(&[][..]));
    assert_eq!(View::new(&data, 0, &[2, 3], &[12, 2]).as_slice(), None);
    assert_eq!(View::new(&data, 5, &[3], &[-1]).as_slice(), None);
    assert_eq!(View::new(&data, 0, &[3, 4], &[0, 1]).as_slice(), None);
}

#[test]
fn views_that_leave_their_data_are_refused() {
    let data = [0u8; 10];
    View::new(&data, 9, &[10], &[-1]);
    assert!(refuses(|| View::new(&[0u8; 10], 8, &[10], &[-1]).len()));
    assert!(refuses(|| View::new(&[0u8; 10], 0, &[2, 6], &[5, 1]).len()));
    assert!(refuses(|| View::new(&[0u8; 10], 10, &[], &[]).len()));
    assert!(refuses(|| View::new(&[0u8; 10], 0, &[usize::MAX, 3], &[0, 0]).len()));
    assert!(refuses(|| View::new(&[0u8; 10], 0, &[3], &[isize::MAX]).len()));
    assert!(refuses(|| View::new(&[0u8; 10], 0, &[3, 2], &[1]).len()));
}

#[test]
fn written_views_do_not_overlap() {
    let mut data = [0u8; 24];
    ViewMut::new(&mut data, 0, &[2, 3, 4], &[12, 4, 1]);
    ViewMut::new(&mut data, 23, &[4, 3, 2], &[-1, -4, -12]);
    ViewMut::new(&mut data, 0, &[3, 2], &[8, 2]);
    ViewMut::new(&mut data, 0, &[1, 5], &[0, 1]);
    ViewMut::new(&mut data, 0, &[0, 5], &[0, 1]);
    assert!(refuses(|| ViewMut::new(&mut [0u8; 24], 0, &[2, 3], &[0, 1]).len()));
    assert!(refuses(|| ViewMut::new(&mut [0u8; 24], 0, &[2, 3], &[1, 1]).len()));
    assert!(refuses(|| ViewMut::new(&mut [0u8; 24], 0, &[2, 3], &[2, 1]).len()));
}
