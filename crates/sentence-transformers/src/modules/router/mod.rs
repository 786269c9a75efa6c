//! [`Router`] and [`InnerRouter`]: other modules for other tasks.

mod inner;
mod routes;

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Map, Value};
use st_encoder::{EncoderInfo, Pass, Rows};

use super::{Conversion, Dataflow, Feature, InputContext, InputModule, Loader, Module, ModuleFolder, ModuleKind};
use crate::files::ModuleWriter;
use crate::pipeline::{Goal, NamedModule, Pipeline};
use crate::tokenizer::{TextTokenizer, Tokens};
use crate::{Error, ErrorKind, Features, NewWeights, Result};

pub use inner::InnerRouter;
use routes::{Part, Routes, Structure, weight_path};

/// The row of [`super::MODULES`].
pub(super) const ROUTER: ModuleKind = ModuleKind {
    name: "Router",
    aliases: &["Asym"],
    type_path: "sentence_transformers.models.Router",
    load: Loader::Either {
        first: |folder, context| Ok(Box::new(Router::load(folder, context)?)),
        later: |folder| Ok(Box::new(InnerRouter::load(folder)?)),
    },
};

/// Reads texts by one of several pipelines, which the task chooses: a small model for queries and a large one for
/// documents, say.
///
/// The task comes from [`crate::EncodeOptions::task`]; `encode_query` and `encode_document` name the tasks `query` and
/// `document`. Without a task the default route is taken. Routes can hold further routers, which are given the name of
/// the route taken as their task. (The original tokenises by the default route of an inner router and computes by the
/// task's; here both are the task's.)
///
/// All routes must give the same feature, with as many components, so that what follows fits and vectors can be compared.
///
/// # Files
/// `router_config.json` with `types`, `structure` and `parameters`; each module in a folder of its own, such as
/// `query_0_Transformer`. The type `Asym` of earlier releases and their `config.json` are read too.
///
/// ```
/// use sentence_transformers::modules::{BoW, Router};
/// use sentence_transformers::{EncodeOptions, LoadOptions, Pipeline, SentenceTransformer};
///
/// let words = |weight: f64| BoW::new(["blue", "sky"], [("sky", weight)], 1.0, true);
/// let query = Pipeline::new("0", Box::new(words(2.0)), vec![])?;
/// let document = Pipeline::new("0", Box::new(words(3.0)), vec![])?;
/// let router = Router::for_query_document(query, document)?;
/// let pipeline = Pipeline::new("0", Box::new(router), vec![])?;
/// let model = SentenceTransformer::from_pipeline(pipeline, &LoadOptions::new())?;
///
/// let options = EncodeOptions::new();
/// assert_eq!(model.encode_query(&["blue sky"], &options)?.row(0), &[1.0, 2.0]);
/// assert_eq!(model.encode_document(&["blue sky"], &options)?.row(0), &[1.0, 3.0]);
/// # Ok::<(), sentence_transformers::Error>(())
/// ```
///
/// # Reference
/// Sentence Transformers (Nils Reimers, Tom Aarsen), `sentence_transformers.models.Router`.
#[derive(Debug)]
pub struct Router {
    routes: Routes<Pipeline>,
    gives: Feature,
    width: usize,
    warned: AtomicBool,
}

impl Router {
    /// A router over named routes. Without a default route, the first one is it when `allow_empty_key` is set.
    ///
    /// # Errors
    /// Without routes, for a default route that is none of them, and when routes give different things.
    pub fn new(routes: Vec<(String, Pipeline)>, default_route: Option<&str>, allow_empty_key: bool) -> Result<Self> {
        Self::of_routes(Routes::new(routes, default_route, allow_empty_key)?)
    }

    /// A router with the routes `query` and `document`, which is the default.
    ///
    /// # Errors
    /// When the two give different things.
    pub fn for_query_document(query: Pipeline, document: Pipeline) -> Result<Self> {
        let routes = vec![("query".to_owned(), query), ("document".to_owned(), document)];
        Self::new(routes, Some("document"), true)
    }

    fn of_routes(routes: Routes<Pipeline>) -> Result<Self> {
        let mut given: Option<(&str, Feature, usize)> = None;
        for (name, route) in routes.iter() {
            let (gives, width) = (route.gives(), route.width());
            match given {
                None => given = Some((name, gives, width)),
                Some((_, first_gives, first_width)) if (first_gives, first_width) == (gives, width) => {}
                Some((first, first_gives, first_width)) => {
                    let (a, b) = (first_gives.name(), gives.name());
                    let message =
                        format!("route '{first}' gives {a} of {first_width} components, route '{name}' {b} of {width}");
                    return Err(Error::new(ErrorKind::Config, message).with_hint(
                        "add a Dense or Pooling module to one of the routes, so that their vectors compare",
                    ));
                }
            }
        }
        let (_, gives, width) = given.unwrap_or(("", Feature::SentenceEmbedding, 0));
        Ok(Self { routes, gives, width, warned: AtomicBool::new(false) })
    }

    fn load(folder: &ModuleFolder, context: &InputContext) -> Result<Self> {
        let structure = Structure::read(folder)?;
        let path = structure.path();
        let routes = structure.routes(|name, parts| {
            let mut parts = parts.into_iter();
            let Some(Part { id, kind }) = parts.next() else {
                return Err(Error::config(&path, format_args!("route '{name}' has no module that reads texts")));
            };
            let input = kind.load.first(&folder.inside(&id)?, context).ok_or_else(|| {
                Error::config(&path, format_args!("the first module '{id}' ({}) cannot read texts", kind.name))
            })??;
            let rest = parts.map(|part| later(folder, &path, part)).collect::<Result<_>>()?;
            Pipeline::new(id, input, rest)
        })?;
        Self::of_routes(routes)
    }

    /// The route of a task, with its name; without a task, the default route.
    ///
    /// # Errors
    /// When there is none.
    pub fn route_of(&self, task: Option<&str>) -> Result<(&str, &Pipeline)> {
        self.routes.find(task)
    }

    fn with_new(&self, path: &str, weights: &mut NewWeights) -> Result<Self> {
        Self::of_routes(
            self.routes.map(|name, route| route.with_weights(&|at, _| weight_path(path, name, at), weights))?,
        )
    }

    /// The pipelines of the routes, in order, to change them.
    pub(crate) fn pipelines_mut(&mut self) -> impl Iterator<Item = &mut Pipeline> {
        self.routes.iter_mut()
    }

    /// The names of the routes and their pipelines, in order.
    pub fn routes(&self) -> impl Iterator<Item = (&str, &Pipeline)> {
        self.routes.iter()
    }

    /// The largest limit; `None` as soon as one route has none.
    fn longest(&self) -> Option<usize> {
        let mut lengths: Vec<Option<usize>> =
            self.routes.iter().map(|(_, route)| route.input().max_seq_length()).collect();
        lengths.sort_unstable();
        lengths.dedup();
        if lengths.len() > 1 && !self.warned.swap(true, Ordering::Relaxed) {
            let shown: Vec<String> =
                lengths.iter().map(|length| length.map_or("inf".to_owned(), |length| length.to_string())).collect();
            log::warn!("Different max_seq_lengths detected: {{{}}}. Using the maximum value.", shown.join(", "));
        }
        if lengths.first() == Some(&None) { None } else { lengths.pop().flatten() }
    }
}

/// A module of a route that is not its first.
fn later(folder: &ModuleFolder, path: &std::path::Path, part: Part) -> Result<NamedModule> {
    let Part { id, kind } = part;
    let module = kind
        .load
        .later(&folder.inside(&id)?)
        .ok_or_else(|| Error::config(path, format_args!("module '{id}' ({}) can only come first", kind.name)))??;
    Ok(NamedModule { name: id, module })
}

impl Module for Router {
    fn kind(&self) -> &'static ModuleKind {
        &ROUTER
    }

    fn dataflow(&self) -> Dataflow {
        Dataflow { needs: Feature::Tokens, gives: self.gives }
    }

    fn forward(&self, mut features: Features, pass: &Pass) -> Result<Features> {
        let (name, route) = self.routes.find(features.task.as_deref())?;
        features.task = Some(name.to_owned());
        // Modules of the route may read the rows that those after the router do not.
        let rows = if route.len() == 1 { pass.rows } else { Rows::All };
        route.forward(features, &Pass { rows, ..*pass }, Goal::Tokens)
    }

    fn output_dim(&self, _: usize) -> Result<usize, usize> {
        Ok(self.width)
    }

    fn save(&self, writer: &ModuleWriter) -> Result<()> {
        self.routes.save(writer, |route| route.modules().map(|(_, module)| module))
    }

    fn with_weights(&self, path: &str, weights: &mut NewWeights) -> Result<Box<dyn Module>> {
        Ok(Box::new(self.with_new(path, weights)?))
    }

    fn config(&self) -> Map<String, Value> {
        self.routes.config()
    }

    fn excludes_prompt(&self) -> bool {
        self.routes.iter().any(|(_, route)| route.excludes_prompt())
    }
}

impl InputModule for Router {
    fn tokenizer(&self) -> Option<&TextTokenizer> {
        self.routes.iter().find_map(|(_, route)| route.input().tokenizer())
    }

    /// The largest of the routes', with a warning when they differ; `None` when any route reads texts of any length.
    fn max_seq_length(&self) -> Option<usize> {
        self.longest()
    }

    fn set_max_seq_length(&mut self, length: Option<usize>) {
        for route in self.routes.iter_mut() {
            route.input_mut().set_max_seq_length(length);
        }
        if length.is_some() && self.routes.iter().all(|(_, route)| route.input().max_seq_length().is_none()) {
            log::warn!("No modules have a max_seq_length attribute to set.");
        }
    }

    /// Converts the encoders of all routes. A route that fails leaves those before it converted; the error says so.
    fn convert(&mut self, conversion: &Conversion) -> Result<bool> {
        let mut any = false;
        for route in self.routes.iter_mut() {
            any |= route.input_mut().convert(conversion)?;
        }
        Ok(any)
    }

    fn width(&self) -> usize {
        self.width
    }

    fn encoder(&self) -> Option<&EncoderInfo> {
        self.routes.iter().find_map(|(_, route)| route.input().encoder())
    }

    fn input_with_weights(&self, path: &str, weights: &mut NewWeights) -> Result<Box<dyn InputModule>> {
        Ok(Box::new(self.with_new(path, weights)?))
    }

    fn tokenize(&self, first: &str, second: Option<&str>) -> Result<Tokens> {
        let (_, route) = self.routes.find(None)?;
        route.input().tokenize(first, second)
    }

    /// Hidden states come through a route that is nothing but an encoder, and only when all routes have as many.
    fn layers(&self) -> Option<usize> {
        let mut counts = self.routes.iter().map(|(_, route)| route.layers());
        let first = counts.next()??;
        counts.all(|count| count == Some(first)).then_some(first)
    }

    fn route(&self, task: Option<&str>) -> Result<Option<&dyn InputModule>> {
        let (name, route) = self.routes.find(task)?;
        route.reader(Some(name)).map(Some)
    }
}
