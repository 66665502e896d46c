use std::time::Duration;

use super::*;
use crate::data::{Layout, Listing};
use crate::device::{Device, Plan, Tensor};
use crate::graph::Precision;
use crate::progress::Silent;

/// Runs `work` on each of `size` ranks, and returns what they return in order.
fn on_all<T: Send>(size: usize, work: impl Fn(Ranks) -> T + Sync) -> Vec<T> {
    let work = &work;
    std::thread::scope(|scope| {
        let ranks = Ranks::threads(size).into_iter();
        let threads: Vec<_> = ranks
            .map(|ranks| scope.spawn(move || work(ranks)))
            .collect();
        let results = threads.into_iter().map(|thread| thread.join().unwrap());
        results.collect()
    })
}

#[test]
fn all_ranks_hear_of_all() {
    for size in 1..9 {
        let texts = on_all(size, |ranks| {
            let first = ranks.text_of_first(&format!("first of {}", ranks.rank()));
            let all = ranks.gather_texts(&"x".repeat(ranks.rank()));
            let flags = ranks.agree([ranks.rank() == 1, false], 0.1 + ranks.rank() as f64);
            (first.unwrap(), all.unwrap(), flags.unwrap())
        });
        for (first, all, flags) in texts {
            assert_eq!(first, "first of 0");
            let want: Vec<String> = (0..size).map(|rank| "x".repeat(rank)).collect();
            assert_eq!(all, want);
            assert_eq!(flags, ([size > 1, false], 0.1));
        }
    }
}

/// Gradient of a part at a place: numbers of many sizes, whose sum depends on the order.
fn gradient(part: usize, place: usize) -> f32 {
    let mixed = (part * 7919 + place * 104_729) % 1013;
    (mixed as f32 - 506.0) * 10f32.powi((mixed % 9) as i32 - 4)
}

#[test]
fn sums_have_the_order_of_the_parts() {
    // over several buckets, an odd number, and fewer elements than ranks
    for (size, parts, lens) in [
        (2, 2, [(2 << 20) + 3, 1]),
        (3, 4, [7, 1]),
        (4, 10, [1021, 2]),
    ] {
        let want = |tensor: usize, place: usize| {
            let of = |part| gradient(part, place + tensor);
            (1..parts).fold(of(0), |sum, part| sum + of(part))
        };
        on_all(size, |ranks| {
            let device = Device::open(Some("cpu:1")).unwrap();
            let tensors = lens.map(|len| Tensor::zeros(&device, &[len]).unwrap());
            // a pass that copies the part's gradients, the second tensor's first
            let mut tape = device.tape();
            let first = tape.input(&[1]);
            let inputs = [1, 0].map(|index| {
                let (sum, input) = (tape.bind(&tensors[index]), tape.input(&[lens[index]]));
                tape.accumulate(sum, input, first);
                (index, input)
            });
            let pass = Plan::new(&device, tape).unwrap();
            pass.write(first, &[1u32]);
            let sum = GradientSum::new(&ranks, &tensors, &pass, Precision::F32).unwrap();
            let mut sums = Sums::default();
            for begin in (0..parts).step_by(size) {
                let part = begin + ranks.rank();
                for (index, input) in inputs {
                    let places = index..index + lens[index];
                    let values: Vec<f32> = places.map(|place| gradient(part, place)).collect();
                    pass.write(input, &values);
                }
                let round = Round {
                    active: size.min(parts - begin),
                    last: begin + size >= parts,
                };
                sum.round(&pass, &mut sums, round).unwrap();
            }
            for (index, tensor) in tensors.iter().enumerate() {
                let values: Vec<f32> = tensor.read().unwrap();
                let expected = (0..tensor.len()).map(|place| want(index, place));
                assert!(
                    values.into_iter().eq(expected),
                    "{size} ranks, tensor {index}"
                );
            }
        });
    }
}

#[test]
fn an_error_reaches_all_ranks_by_name() {
    let errors = on_all(3, |ranks| match ranks.rank() {
        1 => {
            ranks.fail("the disk is full");
            ranks.abort(1);
            None
        }
        _ => ranks.meet().err(),
    });
    for error in [&errors[0], &errors[2]] {
        let error = error.as_ref().unwrap();
        assert_eq!(
            (error.rank, error.what.as_str()),
            (1, "ended: the disk is full")
        );
    }
}

#[test]
fn rank_0_alone_reports_an_error_of_all() {
    let reports = on_all(3, |ranks| ranks.fail("the same"));
    assert_eq!(reports, [true, false, false]);
}

#[test]
fn different_configurations_are_refused_by_field() {
    let errors = on_all(3, |ranks| {
        let mut config = crate::train::RunConfig::default();
        if ranks.rank() == 2 {
            config.schedule.warmup = 11;
        }
        // rank 0 alone saves
        config.checkpoint.every = ranks.rank() as u64;
        ranks.check_configuration(&config).unwrap_err().to_string()
    });
    for error in errors {
        assert_eq!(
            error,
            "rank 2 differs from rank 0: schedule.warmup is 11 there, and 10 on rank 0"
        );
    }
}

#[test]
fn a_share_is_a_part_of_the_cores() {
    let cores = std::thread::available_parallelism().unwrap().get();
    let shares = on_all(2, |ranks| ranks.share().unwrap());
    for (local, share) in shares.into_iter().enumerate() {
        assert_eq!((share.local, share.threads), (local, (cores / 2).max(1)));
    }
    assert_eq!(Ranks::alone().share().unwrap().threads, cores);
}

#[test]
fn traffic_is_a_mean_over_steps() {
    let traffic = Traffic {
        bytes: 300,
        time: Duration::from_millis(30),
    };
    let earlier = Traffic {
        bytes: 100,
        time: Duration::from_millis(10),
    };
    let mean = traffic.since(earlier).mean(2);
    assert_eq!((mean.bytes, mean.time), (100, Duration::from_millis(10)));
}

#[test]
fn each_rank_decodes_its_share_and_has_all() {
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let picture =
        |index: usize| image::RgbImage::from_pixel(8, 8, image::Rgb([40 * index as u8; 3]));
    // every rank has a folder of its own, in which the pictures of the others are damaged
    for (rank, dir) in dirs.iter().enumerate() {
        for index in 0..5 {
            let path = dir.path().join(format!("{index}.png"));
            std::fs::write(path.with_extension("txt"), format!("grey {index}")).unwrap();
            match index % 3 == rank && index != 4 {
                true => picture(index).save(path).unwrap(),
                false => std::fs::write(path, "damaged").unwrap(),
            }
        }
    }
    let loaded = on_all(3, |ranks| {
        let paths = [dirs[ranks.rank()].path().to_owned()];
        let layout = Layout::default();
        let listing = Listing::read(&paths, &layout).unwrap();
        listing
            .decode_among(8, &layout, false, &Silent, ranks.sharing())
            .unwrap()
    });
    for loaded in loaded {
        let samples = loaded.dataset.samples;
        let pixels: Vec<&[u8]> = samples.iter().map(|sample| &*sample.rgb).collect();
        let want: Vec<Vec<u8>> = (0..4).map(|index| picture(index).into_raw()).collect();
        assert_eq!(pixels, want);
        assert_eq!(samples[3].caption, "grey 3");
        let problems: Vec<&str> = loaded.problems.iter().map(|it| &*it.place).collect();
        assert!(
            problems.len() == 1 && problems[0].ends_with("4.png"),
            "{problems:?}"
        );
    }
}

#[test]
fn ranks_with_other_captions_are_refused() {
    let errors = on_all(2, |ranks| {
        let dir = tempfile::tempdir().unwrap();
        let picture = dir.path().join("a.png");
        image::RgbImage::new(8, 8).save(&picture).unwrap();
        std::fs::write(
            picture.with_extension("txt"),
            format!("of {}", ranks.rank()),
        )
        .unwrap();
        let listing = Listing::read(&[dir.path().to_owned()], &Layout::default()).unwrap();
        let checked = ranks.check_listings(&[("training", &listing)]);
        checked.unwrap_err().to_string()
    });
    for error in errors {
        let start = "rank 1 differs from rank 0: the list of training pictures and captions is \"1 pictures, ";
        assert!(error.starts_with(start), "{error}");
    }
}
