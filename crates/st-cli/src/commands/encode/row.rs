//! [`Row`]: a text as it is encoded, itself or the image whose path it is.

use sentence_transformers::{AsInput, Image, Input};

use crate::input::Text;

#[derive(Debug)]
pub(super) struct Row {
    pub(super) text: Text,
    image: Option<Image>,
}

impl Row {
    pub(super) fn new(text: Text, images: bool) -> Self {
        // Only named here; it is read when its turn comes.
        let image = images.then(|| Image::from_path(&text.text));
        Self { text, image }
    }
}

impl AsInput for Row {
    fn as_input(&self) -> Input<'_> {
        match &self.image {
            Some(image) => Input::Image(image),
            None => self.text.as_input(),
        }
    }
}
