//! Search for the largest batch that fits.

use super::config::{BatchSize, RunConfig};
use super::trainer::Setup;
use super::{Footprint, Note, Observer, TrainError, Trainer};

/// Largest batch that is tried, in pictures.
const MAX_PICTURES: usize = 4096;

/// Returns the largest batch, of `accumulate` times a power of two, that the data fill and whose
/// step takes at most four fifths of the device's free memory.
///
/// Steps are recorded to measure them; where the device does not report its memory they are also
/// allocated.
pub(super) fn largest_batch(
    setup: Setup,
    config: &RunConfig,
    observer: &mut dyn Observer,
) -> Result<usize, TrainError> {
    let samples = setup.train.samples.len();
    let (mut found, mut pictures) = (None::<(usize, Footprint)>, config.batch.accumulate);
    let mut limit = "the data have no more".to_owned();
    while pictures <= samples.min(MAX_PICTURES) || found.is_none() {
        let tried = measure(setup, config, pictures);
        match (refusal(setup, pictures, &tried), tried) {
            (None, Ok(footprint)) => found = Some((pictures, footprint)),
            // not even the smallest fits: training says why
            (Some(_), _) if found.is_none() => return Ok(pictures),
            (Some(why), _) => {
                limit = why;
                break;
            }
            (None, Err(error)) => return Err(error),
        }
        pictures *= 2;
    }
    let (pictures, footprint) = found.expect("the loop ends only after one was found");
    observer.note(&Note::BatchSize {
        pictures,
        bytes: footprint.step,
        limit,
    });
    Ok(pictures)
}

/// Records a step of `pictures` pictures.
fn measure(setup: Setup, config: &RunConfig, pictures: usize) -> Result<Footprint, TrainError> {
    let mut config = config.clone();
    config.batch.size = BatchSize::Pictures(pictures);
    let trainer = Trainer::new(setup, config, None)?;
    let footprint = trainer.footprint();
    if footprint.free.is_none() {
        trainer.try_out()?;
    }
    Ok(footprint)
}

/// Says why a batch is too large, if it is.
fn refusal(setup: Setup, pictures: usize, tried: &Result<Footprint, TrainError>) -> Option<String> {
    const MB: u64 = 1_000_000;
    let device = setup.device;
    match tried {
        Ok(footprint) if footprint.largest > device.max_bytes() => Some(format!(
            "{pictures} need {} MB in one buffer, and {} allows {}",
            footprint.largest / MB,
            device.name(),
            device.max_bytes() / MB
        )),
        Ok(footprint) => footprint
            .free
            .filter(|free| footprint.step > free / 5 * 4)
            .map(|free| {
                format!(
                    "{pictures} need {} MB of the {} MB that are left",
                    footprint.step / MB,
                    free / MB
                )
            }),
        Err(error) => Some(format!("{pictures}: {error}")),
    }
}
