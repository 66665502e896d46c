//! Submitting commands, waiting for them, and errors on the way.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Shared;
use crate::device::DeviceError;
use crate::device::executor::Attempt;

/// Submissions that the host may be ahead of the device: each holds on to what the host wrote for
/// it.
const MAX_IN_FLIGHT: usize = 16;

/// Submissions under way, and the time that one may take.
pub(super) struct Submissions {
    /// Submissions that were not waited for, oldest first.
    in_flight: Mutex<VecDeque<wgpu::SubmissionIndex>>,
    timeout: Option<Duration>,
}

impl Submissions {
    pub fn new(timeout: Option<Duration>) -> Submissions {
        Submissions {
            in_flight: Mutex::default(),
            timeout,
        }
    }
}

/// Returns the longest that one submission may take: the value of `SEEMORE_TIMEOUT` in seconds,
/// else five minutes on hardware and an hour on a software adapter, which finishes even if slowly.
pub(super) fn timeout(software: bool, variable: Option<String>) -> Option<Duration> {
    let default = if software { 3600.0 } else { 300.0 };
    let seconds = variable
        .and_then(|text| text.trim().parse::<f64>().ok())
        .filter(|seconds| *seconds >= 0.0)
        .unwrap_or(default);
    (seconds > 0.0)
        .then(|| Duration::try_from_secs_f64(seconds).ok())
        .flatten()
}

fn lost(error: impl ToString) -> DeviceError {
    DeviceError::Lost(error.to_string())
}

impl Shared {
    /// Lets the driver recycle what earlier runs used and call back for mapped buffers; does not
    /// wait.
    pub fn poll(&self) -> Result<(), DeviceError> {
        self.device
            .poll(wgpu::PollType::Poll)
            .map(|_| ())
            .map_err(lost)
    }

    /// Waits for all work that was submitted.
    pub fn wait(&self) -> Result<(), DeviceError> {
        self.wait_until_in_flight(0)?;
        self.wait_for(None)?;
        self.failure.check()
    }

    /// Waits for one submission, or for the last.
    fn wait_for(&self, submission_index: Option<wgpu::SubmissionIndex>) -> Result<(), DeviceError> {
        let timeout = self.submissions.timeout;
        let wait = wgpu::PollType::Wait {
            submission_index,
            timeout,
        };
        match self.device.poll(wait) {
            Ok(_) => Ok(()),
            Err(wgpu::PollError::Timeout) => Err(DeviceError::Stuck {
                seconds: timeout.unwrap_or_default().as_secs_f64(),
            }),
            Err(error) => Err(lost(error)),
        }
    }

    /// Waits until at most `most` submissions are under way. Each of them may take its time.
    fn wait_until_in_flight(&self, most: usize) -> Result<(), DeviceError> {
        loop {
            let in_flight = self.submissions.in_flight.lock();
            let mut in_flight = in_flight.unwrap_or_else(PoisonError::into_inner);
            if in_flight.len() <= most {
                return Ok(());
            }
            let oldest = in_flight.pop_front();
            drop(in_flight);
            self.wait_for(oldest)?;
        }
    }

    /// Submits commands. Waits only for submissions of long ago.
    pub fn submit(&self, commands: wgpu::CommandEncoder) -> Result<(), DeviceError> {
        let index = self.queue.submit([commands.finish()]);
        let in_flight = self.submissions.in_flight.lock();
        in_flight
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(index);
        self.poll()?;
        self.wait_until_in_flight(MAX_IN_FLIGHT)?;
        self.failure.check()
    }

    /// Runs `work` inside error scopes, which catch errors of this thread alone.
    pub fn attempt(&self, work: &mut dyn FnMut()) -> Attempt {
        let filters = [
            wgpu::ErrorFilter::OutOfMemory,
            wgpu::ErrorFilter::Internal,
            wgpu::ErrorFilter::Validation,
        ];
        let scopes = filters.map(|filter| self.device.push_error_scope(filter));
        work();
        // scopes end in the opposite order
        let pending: Vec<_> = scopes.into_iter().rev().map(|scope| scope.pop()).collect();
        Box::pin(async move {
            let mut first = None;
            for error in pending {
                first = error.await.or(first);
            }
            Some(match first? {
                wgpu::Error::OutOfMemory { source } => DeviceError::OutOfMemory(source.to_string()),
                error => DeviceError::Rejected(error.to_string()),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_sets_the_time_limit() {
        let seconds =
            |text: Option<&str>| timeout(false, text.map(str::to_owned)).map(|t| t.as_secs_f64());
        assert_eq!(
            [
                seconds(None),
                seconds(Some("0")),
                seconds(Some("2.5")),
                seconds(Some("soon"))
            ],
            [Some(300.0), None, Some(2.5), Some(300.0)]
        );
        assert_eq!(timeout(true, None), Some(Duration::from_secs(3600)));
    }
}
