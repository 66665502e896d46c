//! Pictures as inputs of pretrained models.

use std::path::Path;

use seemore::image::{Filter, Normalization, Picture, TiledPicture, Tiling};
use seemore::models::{clip, nanovlm, smolvlm};
use serde_json::Value;

use crate::golden::{self, Recorded};

/// Largest difference of a normalised pixel: rounding of the last bit.
const PIXEL: f32 = 1e-6;

/// Largest difference of a pixel that was resampled in floats, whose sums PyTorch takes in another
/// order.
const FLOAT_PIXEL: f32 = 1e-5;

fn open(path: &Path) -> Picture {
    Picture::open(path).unwrap()
}

/// Returns the pixels of all tiles as planes `[tiles, 3, side, side]`.
fn bytes(tiled: &TiledPicture) -> Vec<u8> {
    let pictures = tiled
        .tiles
        .iter()
        .map(|tile| tile.picture.as_ref().unwrap());
    let plane = |rgb: &[u8], channel| rgb.iter().skip(channel).step_by(3).copied().collect();
    pictures
        .flat_map(|picture| (0..3).map(|channel| plane(&picture.rgb, channel)))
        .flat_map(|plane: Vec<u8>| plane)
        .collect()
}

/// Checks bytes for equality, without printing them all.
#[track_caller]
fn same_bytes(name: &str, got: &[u8], want: &[u8]) {
    let differ = got
        .iter()
        .zip(want)
        .filter(|(got, want)| got != want)
        .count();
    assert_eq!(
        (got.len(), differ),
        (want.len(), 0),
        "{name}: bytes that differ"
    );
}

fn tiling(split: &Value) -> Tiling {
    match split.as_bool().unwrap() {
        true => Tiling::Auto,
        false => Tiling::One,
    }
}

#[test]
fn smolvlms_inputs_are_transformers_inputs() {
    golden::each("smolvlm_tiny", |dir| {
        let reference = golden::json(dir.join("reference.json"));
        let recorded = Recorded::open(dir.join("reference.safetensors"));
        let layouts = [dir.to_owned(), dir.join("legacy")];
        let mut held = 0;
        for layout in layouts.iter().filter(|layout| layout.exists()) {
            let config = smolvlm::preprocess::PreprocessConfig::load(layout).unwrap();
            for (name, case) in reference["cases"].as_object().unwrap() {
                let images = golden::list(&case["images"]).iter().map(golden::text);
                let tiled: Vec<TiledPicture> = images
                    .map(|image| {
                        let picture = open(&dir.join(image));
                        config.preprocess(&picture, tiling(&case["do_image_splitting"]))
                    })
                    .collect();
                let tiles: usize = tiled.iter().map(|tiled| tiled.tiles.len()).sum();
                assert_eq!(tiles, golden::size(&case["tiles"]), "{name}");
                let tokens = config.image_seq_len.unwrap();
                let tokens: usize = tiled.iter().map(|tiled| tiled.image_tokens(tokens)).sum();
                assert_eq!(tokens, golden::size(&case["image_tokens"]), "{name}");
                if recorded.holds(&format!("{name}.pixel_values")) {
                    let (_, want) = recorded.tensor::<f32>(&format!("{name}.pixel_values"));
                    let got: Vec<f32> = tiled.iter().flat_map(TiledPicture::inputs).collect();
                    golden::close(name, &got, &want, PIXEL);
                } else {
                    let (_, want) = recorded.tensor::<u8>(&format!("{name}.pixel_values_u8"));
                    same_bytes(
                        name,
                        &tiled.iter().flat_map(bytes).collect::<Vec<u8>>(),
                        &want,
                    );
                }
                held += 1;
            }
        }
        held
    });
}

#[test]
fn smolvlms_tiles_equal_transformers_tiles_in_every_byte() {
    golden::each("smolvlm_tiny", |dir| {
        let pictures = dir.join("preprocess");
        if !pictures.exists() {
            return 0;
        }
        let reference = golden::json(dir.join("reference.json"));
        let recorded = Recorded::open(pictures.join("tiles_u8.safetensors"));
        let config = smolvlm::preprocess::PreprocessConfig::load(dir).unwrap();
        let cases = golden::list(&reference["preprocess"]);
        for case in cases {
            let name = golden::text(&case["tensor"]);
            let picture = open(&pictures.join(golden::text(&case["file"])));
            let tiled = config.preprocess(&picture, tiling(&case["do_image_splitting"]));
            let (shape, want) = recorded.tensor::<u8>(name);
            assert_eq!(
                shape,
                [tiled.tiles.len(), 3, tiled.side, tiled.side],
                "{name}"
            );
            let grid = (tiled.grid.rows, tiled.grid.columns);
            assert_eq!(
                grid,
                (golden::size(&case["rows"]), golden::size(&case["cols"])),
                "{name}"
            );
            same_bytes(name, &bytes(&tiled), &want);
        }
        cases.len()
    });
}

#[test]
fn nanovlms_square_is_resized_as_in_pillow() {
    golden::each("nanovlm_tiny", |dir| {
        let config = nanovlm::preprocess::PreprocessConfig::load(dir).unwrap();
        let recorded = Recorded::open(dir.join("reference.safetensors"));
        let tiled = config.preprocess(&open(&dir.join("image.png")), Tiling::Auto);
        let (shape, want) = recorded.tensor::<f32>("image");
        assert_eq!(shape, [1, 3, tiled.side, tiled.side]);
        golden::close("image", &tiled.inputs(), &want, PIXEL);
        1
    });
}

#[test]
fn nanovlms_tiles_and_sizes_are_its_own_codes() {
    golden::each("nanovlm_tiny/tiled", |dir| {
        let reference = golden::json(dir.join("reference.json"));
        let recorded = Recorded::open(dir.join("reference.safetensors"));
        let config = nanovlm::preprocess::PreprocessConfig::load(dir).unwrap();
        let with = |longest_edge: usize, enlarge: &Value| {
            let mut config = config.clone();
            config.tiles = Some(nanovlm::preprocess::TilesConfig {
                longest_edge,
                enlarge: enlarge.as_bool().unwrap(),
            });
            config
        };
        let mut held = 0;
        for name in ["tiles", "single"] {
            let case = &reference[name];
            let longest_edge = config.tiles.unwrap().longest_edge;
            let config = with(longest_edge, &case["resize_to_max_side_len"]);
            let picture = open(&dir.join(golden::text(&case["image"])));
            let tiled = config.preprocess(&picture, Tiling::Auto);
            let (shape, want) = recorded.tensor::<f32>(&format!("{name}.image"));
            assert_eq!(
                shape,
                [tiled.tiles.len(), 3, tiled.side, tiled.side],
                "{name}"
            );
            assert_eq!(tiled.grid.rows, golden::size(&case["rows"]), "{name}");
            assert_eq!(tiled.grid.columns, golden::size(&case["cols"]), "{name}");
            let tile = 3 * tiled.side * tiled.side;
            for (tile, want) in tiled.tiles.iter().zip(want.chunks(tile)) {
                let tolerance = tile.picture.as_ref().map_or(FLOAT_PIXEL, |_| PIXEL);
                golden::close(name, &tile.input, want, tolerance);
            }
            held += 1;
        }
        for case in golden::list(&reference["sizes_of_pictures"]) {
            let (width, height) = golden::pair(&case["wh"]);
            let config = with(golden::size(&case["max"]), &case["always"]);
            let (size, _) = config.plan(width, height, Tiling::Auto);
            assert_eq!(size, golden::pair(&case["resized_wh"]), "{case}");
            held += 1;
        }
        held
    });
}

#[test]
fn clips_inputs_are_transformers_inputs() {
    golden::each("clip_tiny", |dir| {
        let reference = golden::json(dir.join("reference.json"));
        let recorded = Recorded::open(dir.join("reference.safetensors"));
        let config = clip::preprocess::PreprocessConfig::load(dir).unwrap();
        let images = reference["images"].as_object().unwrap();
        let inputs = (0..images.len()).flat_map(|i| {
            let picture = open(&dir.join(format!("image{i}.png")));
            let size = golden::pair(&images[&format!("image{i}.png")]["wh"]);
            assert_eq!((picture.width, picture.height), size);
            config.preprocess(&picture).inputs()
        });
        let (shape, want) = recorded.tensor::<f32>("pixel_values");
        assert_eq!(shape, [images.len(), 3, config.side, config.side]);
        golden::close("pixel_values", &inputs.collect::<Vec<f32>>(), &want, PIXEL);
        images.len()
    });
}

/// The configuration of SmolVLM's real files, with other sizes.
fn real(longest_edge: usize, side: usize) -> smolvlm::preprocess::PreprocessConfig {
    smolvlm::preprocess::PreprocessConfig {
        longest_edge,
        side,
        split: true,
        filter: Filter::Lanczos,
        normalization: Normalization::UNIT,
        image_seq_len: None,
    }
}

#[test]
fn real_sizes_give_the_recorded_numbers_of_tiles() {
    golden::each("prompts", |dir| {
        let prompts = golden::json(dir.join("prompts.json"));
        let (smolvlm, nanovlm) = (&prompts["smolvlm_sizes"], &prompts["nanovlm_sizes"]);
        for case in golden::list(smolvlm) {
            let (width, height) = golden::pair(&case["image_wh"]);
            let (long, split) = (
                golden::pair(&case["long_edge_wh"]),
                golden::pair(&case["split_wh"]),
            );
            let (rows, columns) = (golden::size(&case["rows"]), golden::size(&case["cols"]));
            let config = real(long.0.max(long.1), split.0 / columns);
            let plan = config.plan(width, height, Tiling::Auto);
            assert_eq!((plan.resized, plan.split), (long, Some(split)), "{case}");
            assert_eq!(
                (plan.grid.rows, plan.grid.columns),
                (rows, columns),
                "{case}"
            );
            assert_eq!(plan.tiles(), golden::size(&case["tiles"]), "{case}");
        }
        for case in golden::list(nanovlm) {
            let (width, height) = golden::pair(&case["image_wh"]);
            let config = nanovlm::preprocess::PreprocessConfig {
                side: golden::size(&case["tile"]),
                tiles: Some(nanovlm::preprocess::TilesConfig {
                    longest_edge: golden::size(&case["max_img_size"]),
                    enlarge: case["resize_to_max_side_len"].as_bool().unwrap(),
                }),
            };
            let (size, _) = config.plan(width, height, Tiling::Auto);
            assert_eq!(size, golden::pair(&case["resized_wh"]), "{case}");
        }
        golden::list(smolvlm).len() + golden::list(nanovlm).len()
    });
}
