//! Commands to the worker thread.

use std::any::Any;

use super::Worker;

/// A command to the worker thread.
///
/// Each page defines its commands as types of its own; the worker runs them in the order in which
/// they were sent.
pub trait Command: Any + Send {
    /// Runs the command on the worker thread and sends its results and failures as events.
    fn run(self: Box<Self>, worker: &mut Worker);
}

impl dyn Command {
    /// Returns the command as a `T`, or unchanged if it is of another type.
    ///
    /// # Errors
    /// The command itself, if it is no `T`.
    pub fn downcast<T: Command>(self: Box<Self>) -> Result<Box<T>, Box<dyn Command>> {
        if (&*self as &dyn Any).is::<T>() {
            let any: Box<dyn Any> = self;
            Ok(any.downcast().expect("the type was checked"))
        } else {
            Err(self)
        }
    }
}
