use super::*;

/// A configuration in which every optional value is given.
fn full() -> RunConfig {
    let mut config = RunConfig {
        seed: u64::MAX,
        ..RunConfig::default()
    };
    config.data.train = vec!["a b.csv".into(), "c".into()];
    config.data.validation = vec!["d.json".into()];
    config.data.validation_split = Some(0.25);
    config.data.images = Some("pictures".into());
    config.data.text = Some("lines.txt".into());
    config.model.preset = Preset::SeemoreOriginal;
    config.model.file = Some("config.json".into());
    config.model.dropout = Some(0.1);
    config.model.freeze = vec![Part::Encoder, Part::Decoder];
    config.tokenizer = TokenizerConfig {
        kind: TokenKind::Bpe,
        file: Some("tokenizer.json".into()),
        vocab_size: Some(300),
        ..TokenizerConfig::default()
    };
    config.init.load = Some("model".into());
    config.init.parts = vec![Part::Projector];
    config.budget = Budget {
        steps: Some(7),
        epochs: Some(1.5),
        seconds: Some(90.0),
    };
    config.batch.size = BatchSize::Auto;
    config.optimizer.ema = 0.998;
    config.loss.label_smoothing = 0.1;
    config.augment.crop = Some(0.1);
    config.guard.on_nan = OnNan::Rollback;
    config.validation.patience = Some(3);
    config.checkpoint.out = Some("run".into());
    config.checkpoint.resume = Some("run".into());
    config.tracking.targets = vec![
        Target::Csv("rows.csv".into()),
        Target::Mlflow("http://localhost:5000".into()),
    ];
    config.tracking.experiment = Some("e".into());
    config
}

#[test]
fn toml_and_json_round_trip() {
    for config in [RunConfig::default(), full()] {
        let text = config.to_toml().unwrap();
        assert_eq!(RunConfig::from_toml(&text).unwrap(), config, "{text}");
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(
            serde_json::from_str::<RunConfig>(&json).unwrap(),
            config,
            "{json}"
        );
    }
}

#[test]
fn a_file_may_leave_out_defaults() {
    let config = RunConfig::from_toml("[model]\npreset = \"tiny\"\n").unwrap();
    let mut expected = RunConfig::default();
    expected.model.preset = Preset::Tiny;
    assert_eq!(config, expected);
    assert_eq!(RunConfig::from_toml("").unwrap(), RunConfig::default());
}

#[test]
fn unknown_names_are_refused() {
    for text in ["sed = 1", "[model]\npreest = \"tiny\"", "[modl]"] {
        let error = RunConfig::from_toml(text).unwrap_err().to_string();
        assert!(error.contains("unknown field"), "{error}");
    }
}

#[test]
fn named_augmentations_are_written_by_name() {
    let text = RunConfig::default().to_toml().unwrap();
    assert!(text.contains("augment = \"light\""), "{text}");
    assert!(RunConfig::from_toml("augment = \"heavy\"").is_err());
}

#[test]
fn errors_in_an_augmentation_name_what_is_allowed() {
    for (text, words) in [
        ("[augment]\nscal = [1.0, 2.0]", ["`scal`", "`scale`"]),
        ("[augment]\nflip = \"often\"", ["\"often\"", "f32"]),
        ("augment = \"heavy\"", ["heavy", "light and strong"]),
        ("augment = 3", ["`3`", "light, strong or a table"]),
    ] {
        let error = RunConfig::from_toml(text).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
}

#[test]
fn numbers_out_of_range_are_named() {
    let checked = |change: fn(&mut RunConfig)| {
        let mut config = RunConfig::default();
        change(&mut config);
        config.check().unwrap_err().to_string()
    };
    assert!(RunConfig::default().check().is_ok());
    assert!(checked(|config| config.optimizer.clip = f64::NAN).contains("optimizer.clip"));
    assert!(checked(|config| config.batch.accumulate = 3).contains("does not divide"));
    assert!(checked(|config| config.budget.epochs = Some(0.0)).contains("budget.epochs"));
    assert!(checked(|config| config.batch.variants = 1.5).contains("batch.variants"));
    assert!(checked(|config| config.log.every = 0).contains("log.every"));
}

#[test]
fn only_what_leaves_the_steps_alone_may_change_on_resume() {
    let stored = RunConfig::default();
    let changed = |change: fn(&mut RunConfig)| {
        let mut config = stored.clone();
        change(&mut config);
        config.continues(&stored)
    };
    assert!(changed(|config| config.budget.steps = Some(9)));
    assert!(changed(|config| config.checkpoint.every = 9));
    assert!(changed(|config| config.memory.checkpoint_activations = true));
    assert!(!changed(|config| config.seed = 9));
    assert!(!changed(|config| config.schedule.learning_rate = 9.0));
    assert!(!changed(|config| config.tokenizer.kind = TokenKind::Words));
}

#[test]
fn limits_follow_epochs_and_preset() {
    let limits = |budget: Budget| budget.limits(Preset::Tiny, 100, 16);
    let epochs = Budget {
        epochs: Some(2.0),
        ..Budget::default()
    };
    assert_eq!(limits(epochs).steps, Some(13));
    assert_eq!(limits(Budget::default()).steps, Some(200));
    assert_eq!(
        Budget::default().limits(Preset::Seemore, 100, 16).seconds,
        Some(210.0)
    );
}

#[test]
fn options_of_older_run_folders_are_upgraded() {
    let folder = "data/checkpoints/emoji-patches";
    let config = RunConfig::like(Path::new(folder)).unwrap();
    assert_eq!(config.batch.size, BatchSize::Pictures(64));
    assert_eq!(config.optimizer.ema, 0.998);
    assert_eq!((config.loss.captions, config.loss.classes), (3.0, 1.0));
    assert_eq!(config.data.train.len(), 5);
    assert!(config.budget.seconds.is_some() && !config.init.prototypes);
    assert_eq!(config.checkpoint.keep, 2);
    assert_eq!(
        config.model.file,
        Some(Path::new(folder).join("config.json"))
    );
    config.check().unwrap();
}
