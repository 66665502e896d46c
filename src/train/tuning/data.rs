//! Pictures of a tuning, at their own size or as features.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

use super::features::{FeatureCache, Key, Shown, key};
use crate::data::{Dataset, Layout, Listing, Loaded, Sample, Sharing};
use crate::device::Device;
use crate::image::{Augment, Picture, Tiling};
use crate::models::Model;
use crate::train::config::{DataConfig, FeatureStore, RunConfig, Tuned};
use crate::train::run::{Listings, listings, report};
use crate::train::{Note, Observer, Ranks, TrainError};

/// What a tuning reads. Samples hold keys in place of pixels.
pub struct Sets {
    pub train: Dataset,
    pub validation: Option<Dataset>,
    /// Pictures that names are found in besides.
    pub further: Option<Dataset>,
    pub data: TuneData,
}

/// Pictures of all data sets, with their features.
pub struct TuneData {
    /// How each picture is shown.
    shown: BTreeMap<Key, Shown>,
    /// Input of a step.
    pub pictures: Pictures,
    pub tiling: Tiling,
}

/// Changes a tile `[3, side, side]` that the model takes in, whose bytes are known for some models.
type Change<'a> = dyn Fn(Vec<f32>, Option<&Picture>) -> Vec<f32> + 'a;

/// Input that a step takes of pictures.
pub enum Pictures {
    /// Rows that the frozen encoder gave.
    Features(FeatureCache),
    /// Pictures at their own size, which every step encodes.
    Pixels(BTreeMap<Key, Picture>),
}

impl TuneData {
    /// How the picture of a sample is shown.
    pub fn shown(&self, sample: &Sample) -> Shown {
        self.shown[&key_of(sample)]
    }

    /// Whether steps take in features.
    pub fn encoded(&self) -> bool {
        matches!(self.pictures, Pictures::Features(_))
    }

    /// Returns the features of a picture.
    ///
    /// # Errors
    /// Pictures without features, or features that were removed.
    pub fn features(&self, sample: &Sample) -> Result<Vec<f32>, String> {
        let Pictures::Features(cache) = &self.pictures else {
            return Err("needs the features of pictures, which are not kept in this run".into());
        };
        cache.get(&key_of(sample))
    }

    /// Returns what a step takes in for a picture: its features, or its tiles as `change` returns
    /// them for the bytes of each.
    ///
    /// # Errors
    /// Features that were removed.
    pub fn input(
        &self,
        model: &Model,
        sample: &Sample,
        change: &Change,
    ) -> Result<Vec<f32>, String> {
        match &self.pictures {
            Pictures::Features(cache) => cache.get(&key_of(sample)),
            Pictures::Pixels(pictures) => {
                let dialogue = model.dialogue().expect("a pretrained model");
                let tiled = dialogue.tiles(&pictures[&key_of(sample)], self.tiling);
                let tiles = tiled.tiles.into_iter();
                let tiles = tiles.map(|tile| change(tile.input, tile.picture.as_ref()));
                Ok(tiles.flatten().collect())
            }
        }
    }
}

/// The key of a sample's picture, which stands in place of its pixels.
fn key_of(sample: &Sample) -> Key {
    sample.rgb.as_slice().try_into().expect("a key")
}

/// Reads the training and the validation set, and with `further` what names are found in besides.
pub fn read(
    config: &RunConfig,
    device: &Device,
    model: &Model,
    tuned: &[Tuned],
    ranks: &Ranks,
    further: bool,
    observer: &mut dyn Observer,
) -> Result<Sets, TrainError> {
    let frozen = model.store().frozen().iter().map(|matrix| &matrix.info);
    let keeps = Tuned::keeps_encoder(tuned, model.store().infos().iter().chain(frozen));
    let changes = config.augment != Augment::none();
    let tiling = config.tune.tiles;
    if changes && tiling != Tiling::One {
        let reason = "cannot be combined with pictures in several tiles: set it to none";
        return Err(TrainError::setting("augment", reason));
    }
    let root = match &config.tune.features {
        FeatureStore::Off => None,
        _ if changes => {
            observer.note(&Note::NoFeatures {
                why: "the pictures change from step to step",
            });
            None
        }
        _ if !keeps => {
            observer.note(&Note::NoFeatures {
                why: "the image encoder is trained",
            });
            None
        }
        FeatureStore::Folder(folder) => Some(folder.clone()),
        FeatureStore::Shared => Some(shared()?),
    };
    let cache = root
        .map(|root| FeatureCache::open(&root, device, model, tiling))
        .transpose()?;
    let mut reader = Reader {
        model,
        tiling,
        cache,
        known: Mutex::default(),
        failed: Mutex::default(),
        part: None,
    };
    let data = &config.data;
    let Listings { train, validation } = listings(data, ranks)?;
    let paths = &config.tune.fit_data;
    let further = || -> Result<Option<Listing>, TrainError> {
        let given = further && !paths.is_empty();
        let listing = given.then(|| Listing::read(paths, &Layout::default()));
        let listing = listing.transpose()?;
        if let Some(listing) = &listing {
            ranks.check_listings(&[("names'", listing)])?;
        }
        Ok(listing)
    };
    if ranks.are_several() && reader.cache.is_some() {
        // each rank encodes its part; where all see one folder, they find the others' parts there
        reader.part = Some(ranks.place());
        let again = listings(data, ranks)?;
        reader.decode(data, again.train, &data.train, observer)?;
        if let Some((listing, paths)) = again.validation {
            reader.decode(data, listing, paths, observer)?;
        }
        if let Some(listing) = further()? {
            reader.decode(data, listing, paths, observer)?;
        }
        ranks.meet()?;
        reader.part = None;
    }
    let train = reader.load(data, train, &data.train, observer)?;
    let further = further()?
        .map(|listing| reader.load(data, listing, paths, observer))
        .transpose()?;
    let (train, validation) = match validation {
        None => train.split(data.validation_share(), config.seed),
        Some((validation, paths)) => {
            let validation = reader.load(data, validation, paths, observer)?;
            let before = train.samples.len();
            let (train, dropped) = train.without(&validation);
            if dropped > 0 && !data.allow_overlap {
                return Err(TrainError::Overlap(format!(
                    "{dropped} of {before} training pictures are also validation pictures"
                )));
            }
            (train, validation)
        }
    };
    if train.samples.is_empty() {
        return Err(TrainError::Nothing(
            "no picture is left to train on: all are validation pictures".into(),
        ));
    }
    let known = reader.known.into_inner().unwrap_or_default();
    if let Some(cache) = &reader.cache {
        let bytes = known.shown.values().map(|shown| cache.bytes(shown.tiles));
        observer.note(&Note::Features {
            pictures: known.shown.len(),
            encoded: cache.encoded(),
            bytes: bytes.sum(),
            folder: cache.folder().to_owned(),
        });
    }
    let data = TuneData {
        shown: known.shown,
        pictures: match reader.cache {
            Some(cache) => Pictures::Features(cache),
            None => Pictures::Pixels(known.pictures),
        },
        tiling,
    };
    let validation = Some(validation).filter(|validation| !validation.samples.is_empty());
    // what is validated on decides nothing
    let further = match &validation {
        Some(validation) => further.map(|set| set.without(validation).0),
        None => further,
    };
    Ok(Sets {
        train,
        validation,
        further,
        data,
    })
}

/// Folder of features that all runs share: `SEEMORE_CACHE`, else `seemore` in the user's cache
/// folder, and there `features`.
fn shared() -> Result<PathBuf, TrainError> {
    let named = |variable: &str| {
        let value = std::env::var_os(variable).filter(|value| !value.is_empty());
        value.map(PathBuf::from)
    };
    let cache = named("SEEMORE_CACHE")
        .or_else(|| Some(named("XDG_CACHE_HOME")?.join("seemore")))
        .or_else(|| Some(std::env::home_dir()?.join(".cache/seemore")));
    match cache {
        Some(cache) => Ok(cache.join("features")),
        None => Err(TrainError::setting(
            "tune.features",
            "is shared, and this user has no home folder: name a folder",
        )),
    }
}

/// Facts about pictures that are collected while they are read.
#[derive(Default)]
struct Known {
    shown: BTreeMap<Key, Shown>,
    pictures: BTreeMap<Key, Picture>,
}

struct Reader<'a> {
    model: &'a Model,
    tiling: Tiling,
    cache: Option<FeatureCache>,
    known: Mutex<Known>,
    /// First failure that is not the picture's.
    failed: Mutex<Option<TrainError>>,
    /// Number of this rank and of all, while each encodes a part of the pictures alone.
    part: Option<(usize, usize)>,
}

impl Reader<'_> {
    /// Describes the pictures of a listing, and tells `observer` what could not be used.
    fn load(
        &self,
        data: &DataConfig,
        listing: Listing,
        paths: &[PathBuf],
        observer: &mut dyn Observer,
    ) -> Result<Dataset, TrainError> {
        let Loaded {
            dataset,
            problems,
            notes,
        } = self.decode(data, listing, paths, observer)?;
        for note in notes {
            observer.note(&Note::Data(note));
        }
        report(data, problems, dataset.samples.len(), observer)?;
        Ok(dataset)
    }

    /// Describes the pictures of a listing.
    fn decode(
        &self,
        data: &DataConfig,
        listing: Listing,
        paths: &[PathBuf],
        observer: &mut dyn Observer,
    ) -> Result<Loaded, TrainError> {
        let progress = observer.reading(paths);
        let describe = |picture: Picture| self.describe(picture);
        let loaded = listing.describe(&data.layout(), data.strict, &*progress, &describe)?;
        let mut failed = self
            .failed
            .lock()
            .unwrap_or_else(|error| error.into_inner());
        failed.take().map_or(Ok(loaded), Err)
    }

    /// Returns the key of a picture, once its features are there or it is kept itself.
    fn describe(&self, picture: Picture) -> Vec<u8> {
        let key = key(&picture);
        let lock = || self.known.lock().unwrap_or_else(|error| error.into_inner());
        let failed = || {
            self.failed
                .lock()
                .unwrap_or_else(|error| error.into_inner())
        };
        let of_other = |(rank, ranks)| usize::from(key[0]) % ranks != rank;
        if self.part.is_some_and(of_other) || lock().shown.contains_key(&key) || failed().is_some()
        {
            return key.to_vec();
        }
        let shown = match &self.cache {
            Some(cache) => cache.add(&key, &picture, self.model, self.tiling),
            None => {
                let dialogue = self.model.dialogue().expect("a pretrained model");
                let tiled = dialogue.tiles(&picture, self.tiling);
                Ok(Shown {
                    tiles: tiled.tiles.len(),
                    grid: tiled.grid,
                })
            }
        };
        match shown {
            Ok(shown) => {
                let mut known = lock();
                known.shown.insert(key, shown);
                if self.cache.is_none() {
                    known.pictures.insert(key, picture);
                }
            }
            Err(error) => {
                failed().get_or_insert(error);
            }
        }
        key.to_vec()
    }
}
