//! Loops over rows of outputs, in tasks on all threads.

use super::parts::Parts;
use crate::graph::{Element, NativeCall};

/// Elements of a task: large enough to pay for handing it out, small enough to share evenly.
const TASK: usize = 16 * 1024;

/// Runs `work` compiled for the widest vectors that the processor has: AVX-512, AVX2 or NEON.
///
/// Mark the closure, and every closure and function that it calls, `#[inline(always)]`: what is not
/// inlined is compiled for the least processor.
#[inline(always)]
pub fn vectorized<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

/// Calls `task` with each range of up to `length` numbers below `count`, on all threads.
pub fn blocks(
    call: &NativeCall,
    count: usize,
    length: usize,
    task: impl Fn(std::ops::Range<usize>) + Sync,
) {
    let length = length.max(1);
    let run = |index: usize| task(index * length..count.min((index + 1) * length));
    match count.div_ceil(length) {
        0 => (),
        1 => run(0),
        tasks => call.workers.for_each(tasks, &run),
    }
}

/// Number of rows of a task.
fn rows_of_task(width: usize) -> usize {
    (TASK / width.max(1)).max(1)
}

/// Calls `work` with the index and the `width` elements of each row of `out`, on all threads, with
/// the processor's widest vectors. A last row may be shorter.
#[inline(always)]
pub fn rows<T: Element>(
    call: &NativeCall,
    out: &mut [T],
    width: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    rows_with_cost(call, out, width, width, work);
}

/// Like [`rows`], for rows that take as long as `cost` elements of elementwise work, such as those
/// that reduce many inputs.
#[inline(always)]
pub fn rows_with_cost<T: Element>(
    call: &NativeCall,
    out: &mut [T],
    width: usize,
    cost: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    let (length, out) = (out.len(), Parts::new(out));
    blocks(
        call,
        length.div_ceil(width),
        rows_of_task(cost),
        |range: std::ops::Range<usize>| {
            vectorized(
                #[inline(always)]
                || {
                    for row in range {
                        let start = row * width;
                        // SAFETY: each row is in one task
                        #[allow(unsafe_code)]
                        let part = unsafe { out.slice(start, width.min(length - start)) };
                        work(row, part);
                    }
                },
            );
        },
    );
}

/// Calls `work` with the index of the first element and the elements of each part of `out`, on all
/// threads, with the processor's widest vectors: for elementwise ops.
#[inline(always)]
pub fn elements<T: Element>(
    call: &NativeCall,
    out: &mut [T],
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    rows(
        call,
        out,
        TASK,
        #[inline(always)]
        |part, out| work(part * TASK, out),
    );
}

/// Like [`rows`], for two outputs with as many rows: `a` in rows of `a_width` elements and `b` in
/// rows of `b_width`.
#[inline(always)]
pub fn rows_of_two<T: Element, U: Element>(
    call: &NativeCall,
    (a, a_width): (&mut [T], usize),
    (b, b_width): (&mut [U], usize),
    work: impl Fn(usize, &mut [T], &mut [U]) + Sync,
) {
    let cost = a_width.max(b_width);
    rows_of_two_with_cost(call, (a, a_width), (b, b_width), cost, work);
}

/// [`rows_of_two`] with the cost of a row, as [`rows_with_cost`].
#[inline(always)]
pub fn rows_of_two_with_cost<T: Element, U: Element>(
    call: &NativeCall,
    (a, a_width): (&mut [T], usize),
    (b, b_width): (&mut [U], usize),
    cost: usize,
    work: impl Fn(usize, &mut [T], &mut [U]) + Sync,
) {
    let none: &mut [f32] = &mut [];
    rows_of_three_with_cost(
        call,
        (a, a_width),
        (b, b_width),
        (none, 0),
        cost,
        #[inline(always)]
        |row, a, b, _| work(row, a, b),
    );
}

/// Like [`rows`], for three outputs with as many rows.
#[inline(always)]
pub fn rows_of_three<T: Element, U: Element, V: Element>(
    call: &NativeCall,
    (a, a_width): (&mut [T], usize),
    (b, b_width): (&mut [U], usize),
    (c, c_width): (&mut [V], usize),
    work: impl Fn(usize, &mut [T], &mut [U], &mut [V]) + Sync,
) {
    let cost = a_width.max(b_width).max(c_width);
    rows_of_three_with_cost(call, (a, a_width), (b, b_width), (c, c_width), cost, work);
}

/// [`rows_of_three`] with the cost of a row, as [`rows_with_cost`].
#[inline(always)]
fn rows_of_three_with_cost<T: Element, U: Element, V: Element>(
    call: &NativeCall,
    (a, a_width): (&mut [T], usize),
    (b, b_width): (&mut [U], usize),
    (c, c_width): (&mut [V], usize),
    cost: usize,
    work: impl Fn(usize, &mut [T], &mut [U], &mut [V]) + Sync,
) {
    let count = a.len() / a_width;
    let (a, b, c) = (Parts::new(a), Parts::new(b), Parts::new(c));
    blocks(
        call,
        count,
        rows_of_task(cost),
        |range: std::ops::Range<usize>| {
            vectorized(
                #[inline(always)]
                || {
                    for row in range {
                        // SAFETY: each row is in one task
                        #[allow(unsafe_code)]
                        let (a, b, c) = unsafe {
                            (
                                a.slice(row * a_width, a_width),
                                b.slice(row * b_width, b_width),
                                c.slice(row * c_width, c_width),
                            )
                        };
                        work(row, a, b, c);
                    }
                },
            );
        },
    );
}
