//! The image encoder of CLIP ViT-B/16, in f16.

use seemore::device::{Device, Plan};
use seemore::image::{ColorProfiles, Picture};
use seemore::models::checkpoint::KeepWeights;
use seemore::models::clip::Clip;
use seemore::nn::Context;
use sha2::{Digest, Sha256};

use crate::golden;
use crate::recorded::{self, TOLERANCE, cosine, hold, hold_each, norm};
use crate::weights;

/// Least cosine of an embedding with the recorded one.
const LEAST_COSINE: f32 = 0.999_99;

/// As [`LEAST_COSINE`], for JPEG: decoders differ by a few units of 255.
const LEAST_COSINE_OF_JPEG: f32 = 0.999;

fn is_jpeg(name: &str) -> bool {
    name.ends_with(".jpg")
}

#[track_caller]
fn load(device: &Device) -> Clip {
    Clip::load(
        device,
        &weights::path("clip-vit-b16"),
        KeepWeights::AsStored,
    )
    .unwrap_or_else(|error| panic!("{error}"))
}

/// Names of the recorded pictures, in their order, with the pictures.
fn pictures(record: &serde_json::Value) -> Vec<(String, Picture)> {
    let folder = weights::path("pictures");
    let names = golden::list(&record["cosines"]["order"]);
    let open = |name: &serde_json::Value| {
        let name = golden::text(name).to_owned();
        // the recording took colors as Pillow gives them
        let picture = Picture::open_with(&folder.join(&name), ColorProfiles::Ignored);
        let picture = picture.unwrap_or_else(|error| panic!("{error}"));
        (name, picture)
    };
    names.iter().map(open).collect()
}

/// What the encoder computes for one picture.
struct Pass {
    /// Rows of the CLS token and of the patches, before the first layer and after each.
    layers: Vec<Vec<f32>>,
    embedding: Vec<f32>,
}

fn run(device: &Device, clip: &Clip, picture: &Picture) -> Pass {
    let config = &clip.config().vision;
    let side = config.image_size;
    let mut tape = device.tape();
    let image = tape.input(&[1, 3, side, side]);
    let mut c = Context::inference(&mut tape);
    c.states = Some(vec![]);
    let embedding = clip.encoder().embed(&mut c, image);
    let states = c.states.take().unwrap();
    tape.hold(embedding);
    let plan = Plan::new(device, tape).unwrap();
    plan.write(image, &clip.preprocess().preprocess(picture).inputs());
    plan.run().unwrap();
    let layers = (0..config.num_hidden_layers).map(|layer| format!("vision.layer{layer}"));
    let layers = std::iter::once("vision.pre_layernorm".to_owned()).chain(layers);
    let read = |name: String| {
        let (_, state) = states.iter().find(|(other, _)| *other == name).unwrap();
        plan.read(*state).unwrap()
    };
    Pass {
        layers: layers.map(read).collect(),
        embedding: plan.read(embedding).unwrap(),
    }
}

fn hold_device(name: &str) {
    let device = weights::device(name);
    let clip = load(&device);
    let width = clip.config().vision.hidden_size;
    let record = recorded::open("clip.json");
    let pictures = pictures(&record);
    for (name, picture) in &pictures {
        let want = &record["pictures"][name];
        let floats = |part: &str| recorded::floats(&want[part]);
        let pass = run(&device, &clip, picture);
        let (tolerance, least) = match is_jpeg(name) {
            true => (1e-2, LEAST_COSINE_OF_JPEG),
            false => (TOLERANCE, LEAST_COSINE),
        };
        let what = |part: &str| format!("{name} on {}: {part}", device.name());
        let of_cls = pass.layers.iter().map(|rows| norm(&rows[..width]));
        hold_each(
            &what("norms of CLS"),
            &of_cls.collect::<Vec<_>>(),
            &floats("cls_norm_per_layer"),
            tolerance,
        );
        let of_patches = pass.layers.iter().map(|rows| {
            let norms: Vec<f32> = rows[width..].chunks(width).map(norm).collect();
            norms.iter().sum::<f32>() / norms.len() as f32
        });
        hold_each(
            &what("norms of patches"),
            &of_patches.collect::<Vec<_>>(),
            &floats("patch_mean_norm_per_layer"),
            tolerance,
        );
        let theirs = floats("image_embeds");
        let same = cosine(&pass.embedding, &theirs);
        assert!(same >= least, "{}", what(&format!("cosine {same}")));
        if !is_jpeg(name) {
            let first = floats("last_layer_patch_0_first_8");
            let patch = &pass.layers.last().unwrap()[width..];
            hold(&what("a patch"), &patch[..first.len()], &first, TOLERANCE);
            hold(&what("embedding"), &pass.embedding, &theirs, TOLERANCE);
        }
    }

    // as programs call it, all pictures at once
    let (names, pictures): (Vec<String>, Vec<Picture>) = pictures.into_iter().unzip();
    let embeddings = clip.embed(&pictures).unwrap();
    let matrix = golden::list(&record["cosines"]["matrix"]);
    for (a, row) in matrix.iter().enumerate() {
        for (b, want) in recorded::floats(row).into_iter().enumerate() {
            let tolerance = match is_jpeg(&names[a]) || is_jpeg(&names[b]) {
                true => 1e-3,
                false => TOLERANCE,
            };
            let pair = format!("{} and {}", names[a], names[b]);
            let got = cosine(&embeddings[a], &embeddings[b]);
            golden::close(&pair, &[got], &[want], tolerance);
        }
    }
}

#[test]
fn the_encoders_files_and_pictures_are_the_recorded_ones() {
    let record = recorded::open("clip.json");
    let path = weights::path("clip-vit-b16/model.safetensors");
    assert_eq!(
        weights::sha256(&path),
        golden::text(&record["weights_sha256"])
    );
    for (name, picture) in record["pictures"].as_object().unwrap() {
        let path = weights::path("pictures").join(name);
        assert_eq!(
            weights::sha256(&path),
            golden::text(&picture["sha256"]),
            "{name}"
        );
    }
}

#[test]
fn pictures_are_preprocessed_to_the_byte() {
    let record = recorded::open("clip.json");
    let clip = load(&weights::device("cpu"));
    let mut held = 0;
    for (name, picture) in pictures(&record) {
        let want = &record["pictures"][&name];
        assert_eq!(
            (picture.width, picture.height),
            golden::pair(&want["wh"]),
            "{name}"
        );
        if is_jpeg(&name) {
            continue;
        }
        let tiled = clip.preprocess().preprocess(&picture);
        let square = tiled.tiles[0].picture.as_ref().unwrap();
        let sum = weights::hexadecimal(&Sha256::digest(&square.rgb));
        assert_eq!(
            sum,
            golden::text(&want["pixel_values_bytes_sha256"]),
            "{name}"
        );
        held += 1;
    }
    assert_eq!(held, 4, "all recorded pictures but the JPEG");
}

#[test]
fn clip_computes_what_transformers_does_on_the_cpu() {
    hold_device("cpu");
}

#[test]
fn clip_computes_what_transformers_does_on_a_graphics_adapter() {
    hold_device("0");
}
