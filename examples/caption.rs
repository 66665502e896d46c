//! Captions pictures with the model that ships with seemore: `cargo run --release --example caption
//! PICTURE..`.

use std::error::Error;

use seemore::caption::Session;
use seemore::device::Device;
use seemore::image::Picture;

fn main() -> Result<(), Box<dyn Error>> {
    let device = Device::open(None)?;
    let session = Session::load(&device, "data/checkpoints/emoji")?;
    for path in std::env::args().skip(1) {
        let caption = session.caption(&Picture::open(path.as_ref())?)?;
        println!("{path}: {}", caption.text);
    }
    Ok(())
}
