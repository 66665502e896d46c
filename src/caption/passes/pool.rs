//! A bounded cache of recorded passes that several threads share.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Idle values by key, the most recently used first.
///
/// A value is taken out while it is in use, so that no thread waits for another: two threads that
/// want the same key at the same time get a value each.
pub(crate) struct Pool<K, V> {
    idle: Mutex<Vec<(K, V)>>,
    limit: usize,
}

impl<K, V> Pool<K, V> {
    /// An empty pool that keeps at most `limit` idle values.
    pub(crate) fn new(limit: usize) -> Pool<K, V> {
        Pool {
            idle: Mutex::new(vec![]),
            limit,
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(K, V)>> {
        // nothing panics while the list is locked
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `run` on the most recently used value whose key `fits`, or on one that `make` makes,
    /// and keeps the value.
    ///
    /// # Errors
    /// Those of `make` and `run`.
    pub(crate) fn with<R, E, F: From<E>>(
        &self,
        fits: impl Fn(&K) -> bool,
        make: impl FnOnce() -> Result<(K, V), E>,
        run: impl FnOnce(&mut V) -> Result<R, F>,
    ) -> Result<R, F> {
        let known = {
            let mut idle = self.idle();
            let place = idle.iter().position(|(key, _)| fits(key));
            place.map(|place| idle.remove(place))
        };
        let (key, mut value) = match known {
            Some(known) => known,
            None => make()?,
        };
        let result = run(&mut value);
        let mut idle = self.idle();
        idle.insert(0, (key, value));
        let kept = self.limit.min(idle.len());
        let forgotten = idle.split_off(kept);
        drop(idle);
        drop(forgotten);
        result
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn keeps_the_most_recently_used_values() {
        let pool: Pool<u32, Vec<u32>> = Pool::new(2);
        let made = std::cell::Cell::new(0);
        let visit = |key: u32| {
            pool.with(
                |known| *known == key,
                || {
                    made.set(made.get() + 1);
                    Ok::<_, Infallible>((key, vec![]))
                },
                |value| {
                    value.push(key);
                    Ok::<_, Infallible>(value.len())
                },
            )
            .unwrap()
        };
        assert_eq!([1, 2, 1, 3, 1].map(visit), [1, 1, 2, 1, 3]);
        assert_eq!(made.get(), 3);
        // 2 was the least recently used when 3 came
        assert_eq!(visit(2), 1);
    }

    #[test]
    fn a_value_in_use_is_not_handed_out_again() {
        let pool: Pool<u32, u32> = Pool::new(4);
        let made = std::cell::Cell::new(0);
        let make = || {
            made.set(made.get() + 1);
            Ok::<_, Infallible>((0, made.get()))
        };
        let inner = pool.with(
            |_| true,
            make,
            |_| pool.with(|_| true, make, |value| Ok::<_, Infallible>(*value)),
        );
        assert_eq!((inner.unwrap(), made.get()), (2, 2));
    }
}
