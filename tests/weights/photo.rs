//! The captioner of photographs that ships, on the real weights of its parts.

use std::path::Path;

use seemore::caption::Session;
use seemore::image::Picture;
use seemore::models::checkpoint;

use crate::weights;

#[test]
fn it_is_the_default_where_its_parts_are_and_names_things() {
    // of the repository, whose parts `make weights` has made
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = checkpoint::default_folder().expect("a shipped model");
    assert!(folder.ends_with("data/checkpoints/photo"), "{folder:?}");
    let session = Session::load(&weights::device("cpu"), root.join(&folder))
        .unwrap_or_else(|error| panic!("{error}"));
    for (name, word) in [("cat", "cat"), ("coffee", "coffee"), ("bricks", "brick")] {
        let picture = root.join(format!("data/photographs/{name}.jpg"));
        let caption = session.caption(&Picture::open(&picture).unwrap()).unwrap();
        assert!(caption.text.contains(word), "{name}: {}", caption.text);
    }
}
