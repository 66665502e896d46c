use super::transform::change;
use super::*;

/// A picture with its caption.
struct Sample {
    rgb: Vec<u8>,
    caption: &'static str,
}

impl Sample {
    fn new(rgb: Vec<u8>, caption: &'static str) -> Sample {
        Sample { rgb, caption }
    }

    fn subject(&self) -> Subject<'_> {
        Subject {
            rgb: &self.rgb,
            caption: self.caption,
            varies: false,
        }
    }
}

/// For `apply` without a second picture.
const ALONE: Option<Subject> = None;

/// A picture with many colours.
fn sample(side: usize) -> Sample {
    let rgb = (0..side * side * 3).map(|i| (i * 7 % 256) as u8).collect();
    Sample::new(rgb, "")
}

#[test]
fn no_change_gives_the_normalised_picture() {
    let sample = sample(8);
    assert_eq!(
        Augment::none().apply(sample.subject(), ALONE, 8, 1, 2, 3),
        normalise(&sample.rgb)
    );
    let nearly = Augment {
        rotate: 1e-9,
        ..Augment::none()
    };
    let off = nearly
        .apply(sample.subject(), ALONE, 8, 1, 2, 3)
        .iter()
        .zip(normalise(&sample.rgb))
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!(off < 0.02, "{off}");
}

#[test]
fn changes_are_reproducible_and_differ_between_draws() {
    let sample = sample(16);
    let draw =
        |seed, step, draw| Augment::light().apply(sample.subject(), ALONE, 16, seed, step, draw);
    assert_eq!(draw(1, 2, 3), draw(1, 2, 3));
    assert_ne!(draw(1, 2, 3), draw(1, 2, 4));
    assert_ne!(draw(1, 2, 3), draw(1, 3, 3));
    assert_ne!(draw(1, 2, 3), draw(2, 2, 3));
}

/// A picture with a red left half and a white right half.
fn half(caption: &'static str) -> Sample {
    let rgb = (0..16 * 16)
        .flat_map(|i| if i % 16 < 8 { [200, 40, 40] } else { [255; 3] })
        .collect();
    Sample::new(rgb, caption)
}

/// The changed pixels of many draws.
fn draws(augment: Augment, sample: &Sample) -> Vec<Vec<u8>> {
    (0..200)
        .map(|draw| {
            let subject = sample.subject();
            let limited = augment.limited(&subject);
            change(&limited, subject.rgb, 16, Draws::new(1, 2, draw))
        })
        .collect()
}

#[test]
fn reads_settings_of_earlier_versions() {
    let saved = r#"{"scale":[0.75,1.1],"aspect":1.1,"shift":0.08,"rotate":12.0,"hue":8.0,"saturation":[0.6,1.3],"contrast":[0.8,1.15],"brightness":0.06}"#;
    assert_eq!(
        serde_json::from_str::<Augment>(saved).unwrap(),
        Augment::light()
    );
    for strength in [Strength::None, Strength::Light, Strength::Strong].map(Augment::from) {
        strength.check().unwrap();
        assert_eq!(
            serde_json::from_str::<Augment>(&serde_json::to_string(&strength).unwrap()).unwrap(),
            strength
        );
    }
}

#[test]
fn names_invalid_fields() {
    let bad = [
        (
            "flip",
            Augment {
                flip: 1.5,
                ..Augment::none()
            },
        ),
        (
            "noise",
            Augment {
                noise: f32::NAN,
                ..Augment::none()
            },
        ),
        (
            "scale",
            Augment {
                scale: (1.1, 0.9),
                ..Augment::none()
            },
        ),
        (
            "gamma",
            Augment {
                gamma: 0.5,
                ..Augment::none()
            },
        ),
        (
            "mix_share",
            Augment {
                mix_share: (0.2, 1.0),
                ..Augment::none()
            },
        ),
    ];
    for (name, augment) in bad {
        assert!(augment.check().unwrap_err().starts_with(name));
    }
}

#[test]
fn flips_as_often_as_requested_unless_the_caption_forbids_it() {
    let flip = Augment {
        flip: 0.4,
        by_caption: true,
        ..Augment::none()
    };
    let flipped = |caption| {
        draws(flip, &half(caption))
            .iter()
            .filter(|rgb| rgb[0] == 255)
            .count()
    };
    assert!(
        (60..100).contains(&flipped("heart")),
        "{}",
        flipped("heart")
    );
    assert_eq!(flipped("left arrow"), 0);
    assert!(
        draws(flip, &half("heart"))
            .iter()
            .all(|rgb| rgb[0] != rgb[3 * 15])
    );
}

#[test]
fn captions_with_a_colour_keep_it() {
    let strong = Augment {
        noise: 0.0,
        gamma: 1.0,
        scale: (1.0, 1.0),
        rotate: 0.0,
        flip: 0.0,
        ..Augment::strong()
    };
    // red less green of the drawing, originally 200 and 40
    let red = |caption| {
        let drawn = draws(strong, &half(caption));
        drawn
            .iter()
            .map(|rgb| rgb[3 * (8 * 16 + 3)] as i32 - rgb[3 * (8 * 16 + 3) + 1] as i32)
            .min()
            .unwrap()
    };
    assert!(red("red heart") > 70, "{}", red("red heart"));
    assert!(red("heart") < 10, "{}", red("heart"));
}

#[test]
fn noise_has_the_drawn_deviation() {
    let mut normal = Draws::new(5, 6, 7);
    let values: Vec<f64> = (0..40_000).map(|_| normal.normal() as f64).collect();
    let mean = values.iter().sum::<f64>() / 4e4;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 4e4;
    assert!(
        mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03,
        "{mean} {variance}"
    );
    let noisy = draws(
        Augment {
            noise: 0.06,
            ..Augment::none()
        },
        &half(""),
    );
    // the deviation of each draw is at most 0.06
    let spread = |rgb: &Vec<u8>| {
        (0..16)
            .flat_map(|y| (0..8).map(move |x| 3 * (16 * y + x)))
            .map(|at| (rgb[at] as f64 - 200.0).powi(2))
            .sum::<f64>()
            / 128.0
    };
    let most = noisy
        .iter()
        .map(|rgb| spread(rgb).sqrt())
        .fold(0.0, f64::max);
    assert!((0.04 * 255.0..0.075 * 255.0).contains(&most), "{most}");
}

#[test]
fn draws_outlines_as_often_as_requested() {
    let dark = |outline| {
        let augment = Augment {
            outline,
            ..Augment::none()
        };
        draws(augment, &half("tiger"))
            .iter()
            .filter(|rgb| rgb[3 * (8 * 16 + 7)] < 120)
            .count()
    };
    assert_eq!((dark(0.0), dark(1.0)), (0, 200));
    assert!((50..90).contains(&dark(0.35)), "{}", dark(0.35));
}

#[test]
fn gamma_keeps_black_and_white() {
    let sample = Sample::new([[0; 3], [128; 3], [255; 3], [255; 3]].concat(), "");
    let augment = Augment {
        gamma: 1.4,
        ..Augment::none()
    };
    let drawn: Vec<Vec<u8>> = (0..100)
        .map(|draw| change(&augment, &sample.rgb, 2, Draws::new(1, 2, draw)))
        .collect();
    assert!(drawn.iter().all(|rgb| rgb[0] == 0 && rgb[6] == 255));
    let (least, most) = (
        drawn.iter().map(|rgb| rgb[3]).min().unwrap(),
        drawn.iter().map(|rgb| rgb[3]).max().unwrap(),
    );
    assert!(
        (97..110).contains(&least) && (145..157).contains(&most),
        "{least} {most}"
    );
}

#[test]
fn erases_one_rectangle() {
    let augment = Augment {
        erase: 1.0,
        erase_side: (0.25, 0.5),
        ..Augment::none()
    };
    let sample = Sample::new(vec![77; 3 * 256], "");
    for rgb in draws(augment, &sample) {
        let gone: Vec<usize> = (0..256).filter(|i| rgb[3 * i..][..3] != [77; 3]).collect();
        let (rows, columns): (Vec<_>, Vec<_>) = gone.iter().map(|i| (i / 16, i % 16)).unzip();
        let span = |of: &[usize]| of.iter().max().unwrap() - of.iter().min().unwrap() + 1;
        assert_eq!(span(&rows) * span(&columns), gone.len());
        assert!((4..=8).contains(&span(&rows)) && (4..=8).contains(&span(&columns)));
    }
    let whole = Augment {
        erase: 1.0,
        erase_side: (1.0, 1.0),
        ..Augment::none()
    };
    assert!(
        draws(whole, &sample)
            .iter()
            .all(|rgb| rgb.chunks(3).all(|pixel| pixel == &rgb[..3]))
    );
}

#[test]
fn blends_the_second_picture_by_its_share() {
    let mix = Augment {
        mix: 0.3,
        mix_share: (0.7, 0.9),
        ..Augment::none()
    };
    let (black, white) = (
        Sample::new(vec![0; 3 * 64], ""),
        Sample::new(vec![255; 3 * 64], ""),
    );
    let apply = |second, draw| mix.apply(black.subject(), second, 8, 1, 2, draw);
    assert_eq!(apply(ALONE, 5), normalise(&black.rgb));
    for draw in 0..50 {
        let mixed = apply(Some(white.subject()), draw);
        assert_eq!(mixed, apply(Some(white.subject()), draw));
        let level = |rgb: u8| normalise(&[rgb; 3 * 64])[0];
        assert!((level(25)..=level(77)).contains(&mixed[0]), "{}", mixed[0]);
    }
    let partners: Vec<Option<usize>> = (0..1000).map(|draw| mix.partner(7, 1, 2, draw)).collect();
    let some: Vec<usize> = partners.iter().copied().flatten().collect();
    assert!(
        (250..350).contains(&some.len())
            && (0..7).all(|i| some.contains(&i))
            && some.iter().all(|&i| i < 7)
    );
    assert!((0..1000).all(|draw| Augment::strong().partner(7, 1, 2, draw).is_none()));
}

#[test]
fn crops_to_the_drawing() {
    let mut rgb = vec![255; 3 * 256];
    // four by two pixels near a corner
    for (x, y) in (1..5).flat_map(|x| (2..4).map(move |y| (x, y))) {
        rgb[3 * (16 * y + x)..][..3].fill(0);
    }
    let augment = Augment {
        crop: Some(0.0),
        ..Augment::none()
    };
    let drawn = change(&augment, &rgb, 16, Draws::new(1, 2, 3));
    let dark: Vec<usize> = (0..256).filter(|i| drawn[3 * i] < 128).collect();
    // all columns and half of the rows, except for the corners, which lie between pixels
    assert_eq!(
        (dark.len(), dark[0], dark[123]),
        (16 * 8 - 4, 16 * 4 + 1, 16 * 12 - 2)
    );
}
