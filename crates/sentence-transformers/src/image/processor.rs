//! [`ImageProcessor`]: from pixels to the numbers that an encoder reads, as `preprocessor_config.json` says.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::resample::{Filter, Span, resize};
use super::{Image, Rgb};
use crate::files::read_json;
use crate::{Error, ErrorKind, Result};

/// Longest side of an image or a crop.
const LONGEST_SIDE: u64 = 1 << 16;
/// Mean and spread of the colours of CLIP's training images (Radford et al. 2021).
const MEAN: [f64; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
/// See [`MEAN`].
const SPREAD: [f64; 3] = [0.268_629_54, 0.261_302_58, 0.275_777_11];

/// What happens to an image before an encoder reads it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ImageProcessor {
    resize: Option<(Size, Filter)>,
    /// Height and width of the middle that is kept.
    crop: Option<(usize, usize)>,
    rescale: Option<f64>,
    normalize: Option<([f32; 3], [f32; 3])>,
}

/// What an image is resized to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    /// The shorter side; the other keeps the proportion.
    Shortest(usize),
    /// Height and width.
    Exact(usize, usize),
}

impl ImageProcessor {
    /// Reads `preprocessor_config.json` of a folder, or `image_processor` in its `processor_config.json`.
    ///
    /// # Errors
    /// When neither is there, or names a step that is not supported.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("preprocessor_config.json");
        if let Some(config) = read_json(&path)? {
            return Fields::new(&config, path)?.processor();
        }
        let newer = folder.join("processor_config.json");
        match read_json(&newer)?.as_ref().and_then(|config| config.get("image_processor")) {
            Some(config) => Fields::new(config, newer)?.processor(),
            None => Err(Error::new(ErrorKind::NotFound, format!("{} is missing", path.display()))
                .with_path(path)
                .with_hint("it says how images are resized: download the model again, all files")),
        }
    }

    /// Appends an image of `side × side` pixels, cut into patches of `patch × patch`, each channel by channel.
    ///
    /// # Errors
    /// When the image cannot be decoded, or does not come to the size that the model reads.
    pub(crate) fn patches(&self, image: &Image, side: usize, patch: usize, out: &mut Vec<f32>) -> Result<()> {
        let pixels = self.shape(image.decode()?.as_ref(), side)?;
        let value = |channel: usize, byte: u8| {
            let scaled = self.rescale.map_or(f32::from(byte), |factor| (f64::from(byte) * factor) as f32);
            self.normalize.map_or(scaled, |(mean, spread)| (scaled - mean[channel]) / spread[channel])
        };
        let count = side / patch.max(1);
        out.reserve(3 * (count * patch).pow(2));
        for (top, left) in (0..count).flat_map(|y| (0..count).map(move |x| (y * patch, x * patch))) {
            for channel in 0..3 {
                for y in top..top + patch {
                    let row = &pixels.pixels[(y * side + left) * 3..(y * side + left + patch) * 3];
                    out.extend(row.iter().skip(channel).step_by(3).map(|&byte| value(channel, byte)));
                }
            }
        }
        Ok(())
    }

    /// Resizes and crops.
    fn shape(&self, image: &Rgb, side: usize) -> Result<Rgb> {
        let (height, width) = match self.resize {
            None => (image.height, image.width),
            Some((Size::Exact(height, width), _)) => (height, width),
            Some((Size::Shortest(short), _)) => {
                let (shorter, longer) = (image.width.min(image.height), image.width.max(image.height));
                let long = (short as u64 * longer as u64 / shorter as u64) as usize;
                if image.width <= image.height { (long, short) } else { (short, long) }
            }
        };
        let (rows, columns) = self.crop.unwrap_or((height, width));
        if (rows, columns) != (side, side) {
            return Err(Error::new(
                ErrorKind::Argument,
                format!("Input image size ({rows}*{columns}) doesn't match model ({side}*{side})."),
            )
            .with_hint("the preprocessor's configuration does not crop: give images of the model's size"));
        }
        // What is kept begins here; before the image's edge where the image is smaller than what is kept.
        let start = |whole: usize, kept: usize| (whole as i64 - kept as i64).div_euclid(2);
        let (top, left) = (start(height, rows), start(width, columns));
        let span = |size: usize, start: i64, kept: usize| {
            let (from, to) = (start.max(0), (start + kept as i64).min(size as i64));
            Span { size, start: from as usize, count: (to - from).max(0) as usize }
        };
        let (across, down) = (span(width, left, columns), span(height, top, rows));
        // A filter weights nothing where the size stays.
        let filter = self.resize.map_or(Filter::Bicubic, |(_, filter)| filter);
        let part = resize(image, filter, across, down);
        if (part.height, part.width) == (rows, columns) {
            return Ok(part);
        }
        let mut pixels = vec![0; rows * columns * 3];
        let (above, before) = ((-top).max(0) as usize, (-left).max(0) as usize);
        for (row, from) in part.pixels.chunks_exact((part.width * 3).max(1)).enumerate() {
            let to = ((row + above) * columns + before) * 3;
            pixels[to..to + from.len()].copy_from_slice(from);
        }
        Ok(Rgb { width: columns, height: rows, pixels })
    }
}

/// The fields of a preprocessor's configuration.
struct Fields<'a> {
    fields: &'a Map<String, Value>,
    path: PathBuf,
}

impl<'a> Fields<'a> {
    fn new(config: &'a Value, path: PathBuf) -> Result<Self> {
        match config.as_object() {
            Some(fields) => Ok(Self { fields, path }),
            None => Err(Error::config(&path, "a JSON object is expected")),
        }
    }

    fn processor(&self) -> Result<ImageProcessor> {
        for name in ["image_processor_type", "feature_extractor_type"] {
            if let Some(kind) = self.value(name)
                && !kind.as_str().is_some_and(|kind| kind.starts_with("CLIP"))
            {
                return Err(self.error(format_args!("'{name}' {kind} is not supported, only CLIP's are")));
            }
        }
        let resize = if self.flag("do_resize")? { Some((self.size()?, self.filter()?)) } else { None };
        let crop = if self.flag("do_center_crop")? { Some(self.crop()?) } else { None };
        let rescale = if self.flag("do_rescale")? { Some(self.factor()?) } else { None };
        let normalize = if self.flag("do_normalize")? {
            let spread = self.colours("image_std", SPREAD)?;
            if spread.contains(&0.0) {
                return Err(self.error("'image_std' should not be 0"));
            }
            Some((self.colours("image_mean", MEAN)?, spread))
        } else {
            None
        };
        Ok(ImageProcessor { resize, crop, rescale, normalize })
    }

    fn value(&self, name: &str) -> Option<&'a Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    fn error(&self, message: impl std::fmt::Display) -> Error {
        Error::config(&self.path, message)
    }

    fn flag(&self, name: &str) -> Result<bool> {
        let flag =
            |value: &Value| value.as_bool().ok_or_else(|| self.error(format_args!("'{name}' should be true or false")));
        self.value(name).map_or(Ok(true), flag)
    }

    fn side(&self, name: &str, value: Option<&Value>) -> Result<usize> {
        match value.and_then(Value::as_u64) {
            Some(side @ 1..=LONGEST_SIDE) => Ok(side as usize),
            _ => Err(self.error(format_args!("'{name}' should have sides from 1 to {LONGEST_SIDE}"))),
        }
    }

    /// Older files have one number here, newer ones an object.
    fn size(&self) -> Result<Size> {
        match self.value("size") {
            None => Ok(Size::Shortest(224)),
            Some(Value::Object(size)) if size.contains_key("shortest_edge") => {
                Ok(Size::Shortest(self.side("size", size.get("shortest_edge"))?))
            }
            Some(Value::Object(size)) => {
                Ok(Size::Exact(self.side("size", size.get("height"))?, self.side("size", size.get("width"))?))
            }
            number => Ok(Size::Shortest(self.side("size", number)?)),
        }
    }

    fn crop(&self) -> Result<(usize, usize)> {
        match self.value("crop_size") {
            None => Ok((224, 224)),
            Some(Value::Object(size)) => {
                Ok((self.side("crop_size", size.get("height"))?, self.side("crop_size", size.get("width"))?))
            }
            number => self.side("crop_size", number).map(|side| (side, side)),
        }
    }

    /// Pillow numbers its filters.
    fn filter(&self) -> Result<Filter> {
        match self.value("resample").map_or(Some(3), Value::as_u64) {
            Some(2) => Ok(Filter::Bilinear),
            Some(3) => Ok(Filter::Bicubic),
            _ => Err(self.error("'resample' is not supported, only 2 (bilinear) and 3 (bicubic) are")),
        }
    }

    fn factor(&self) -> Result<f64> {
        let factor = self.value("rescale_factor").map_or(Some(1.0 / 255.0), Value::as_f64);
        factor.filter(|factor| factor.is_finite()).ok_or_else(|| self.error("'rescale_factor' should be a number"))
    }

    /// One number per channel, or one for all.
    fn colours(&self, name: &str, default: [f64; 3]) -> Result<[f32; 3]> {
        let numbers = match self.value(name) {
            None => Some(default.to_vec()),
            Some(Value::Array(numbers)) => numbers.iter().map(Value::as_f64).collect(),
            Some(number) => number.as_f64().map(|number| vec![number; 3]),
        };
        match numbers.as_deref() {
            Some(&[red, green, blue]) if [red, green, blue].iter().all(|number| number.is_finite()) => {
                Ok([red as f32, green as f32, blue as f32])
            }
            _ => Err(self.error(format_args!("'{name}' should be three numbers"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn processor(config: Value) -> Result<ImageProcessor> {
        Fields::new(&config, "preprocessor_config.json".into())?.processor()
    }

    #[test]
    fn old_and_new_spellings_mean_the_same() {
        let old = json!({"size": 30, "crop_size": 24, "feature_extractor_type": "CLIPFeatureExtractor"});
        let new = json!({"size": {"shortest_edge": 30}, "crop_size": {"height": 24, "width": 24},
            "image_processor_type": "CLIPImageProcessor", "resample": 3});
        assert_eq!(processor(old).unwrap(), processor(new).unwrap());
        for wrong in [
            json!({"image_processor_type": "ViTImageProcessor"}),
            json!({"size": 0}),
            json!({"size": {"longest_edge": 4}}),
            json!({"resample": 1}),
            json!({"image_std": [1, 0, 1]}),
            json!({"image_mean": [1, 2]}),
            json!({"do_resize": 1}),
            json!([]),
        ] {
            assert!(processor(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_smaller_image_stands_in_the_middle_of_black() {
        let plain = json!({"do_resize": false, "crop_size": 4, "do_normalize": false, "do_rescale": false});
        let image = Image::from_rgb(1, 2, vec![9; 6]).unwrap();
        let mut numbers = Vec::new();
        processor(plain).unwrap().patches(&image, 4, 4, &mut numbers).unwrap();
        // Two columns before it and one behind it; a row above and one below.
        let expected = [[0.0; 4], [0.0, 0.0, 9.0, 0.0], [0.0, 0.0, 9.0, 0.0], [0.0; 4]].concat();
        assert_eq!(numbers, expected.repeat(3));
    }

    #[test]
    fn thin_images_take_no_more_memory_than_the_crop() {
        let image = Image::from_rgb(60_000, 1, vec![200; 180_000]).unwrap();
        let mut numbers = Vec::new();
        let config = json!({"do_normalize": false, "do_rescale": false});
        processor(config).unwrap().patches(&image, 224, 32, &mut numbers).unwrap();
        assert!(numbers.len() == 3 * 224 * 224 && numbers.iter().all(|&number| number == 200.0));
        let exact = json!({"do_center_crop": false});
        let error = processor(exact).unwrap().patches(&image, 224, 32, &mut numbers).unwrap_err();
        assert!(error.to_string().starts_with("Input image size (224*13440000) doesn't match"), "{error}");
    }
}
