//! [`InnerRouter`]: a router that does not come first.

use serde_json::{Map, Value};
use st_encoder::Pass;

use crate::files::ModuleWriter;
use crate::modules::{Dataflow, Feature, Module, ModuleFolder, ModuleKind};
use crate::pipeline::NamedModule;
use crate::{Error, ErrorKind, Features, NewWeights, Result};

use super::routes::{Routes, Structure, weight_path};
use super::{ROUTER, later};

/// A [`super::Router`] behind other modules: it sends on what they made, to modules that the task chooses. The usual case
/// is one encoder for all texts and a [`crate::modules::Dense`] of its own for queries and for documents.
///
/// A route without modules changes nothing.
///
/// ```
/// use sentence_transformers::NamedModule;
/// use sentence_transformers::modules::{Dense, DenseActivation, InnerRouter, Module};
///
/// let dense = |weight| Dense::new(1, 1, vec![weight], None, DenseActivation::Identity);
/// let route = |weight| Ok::<_, sentence_transformers::Error>(vec![NamedModule {
///     name: "0".into(),
///     module: Box::new(dense(weight)?),
/// }]);
/// let routes = vec![("query".to_owned(), route(2.0)?), ("document".to_owned(), route(3.0)?)];
/// let router = InnerRouter::new(routes, None, true)?;
/// assert_eq!(router.output_dim(1), Ok(1));
/// # Ok::<(), sentence_transformers::Error>(())
/// ```
#[derive(Debug)]
pub struct InnerRouter {
    routes: Routes<Vec<NamedModule>>,
    flow: Dataflow,
    /// The width it takes, where any route has one.
    takes: Option<usize>,
}

impl InnerRouter {
    /// A router over named routes. Without a default route, the first one is it when `allow_empty_key` is set.
    ///
    /// # Errors
    /// Without routes, for a default route that is none of them, and when routes take or give different things.
    pub fn new(
        routes: Vec<(String, Vec<NamedModule>)>,
        default_route: Option<&str>,
        allow_empty_key: bool,
    ) -> Result<Self> {
        Self::of_routes(Routes::new(routes, default_route, allow_empty_key)?)
    }

    fn of_routes(routes: Routes<Vec<NamedModule>>) -> Result<Self> {
        let differ = |name: &str, what: &str| {
            let message = format!("route '{name}' {what} something else than the other routes of its router");
            Error::new(ErrorKind::Config, message)
                .with_hint("routes behind other modules must take the same feature and give vectors of one width")
        };
        let mut flow: Option<Dataflow> = None;
        for (name, modules) in routes.iter().filter(|(_, modules)| !modules.is_empty()) {
            let own = chain_flow(modules).ok_or_else(|| differ(name, "holds a module that takes"))?;
            match flow {
                None => flow = Some(own),
                Some(other) if other == own => {}
                Some(_) => return Err(differ(name, "takes or gives")),
            }
        }
        let flow = flow.ok_or_else(|| Error::new(ErrorKind::Config, "no route of a router has any module"))?;
        if let Some((name, _)) = routes.iter().find(|(_, modules)| modules.is_empty() && flow.needs != flow.gives) {
            return Err(differ(name, "gives"));
        }
        // No vector is that wide: a module that takes any width says so, and one that does not tells its own.
        let takes = routes.iter().find_map(|(_, modules)| chain_width(modules, usize::MAX).err());
        if let Some(width) = takes {
            let mut given = None;
            for (name, modules) in routes.iter() {
                let out = chain_width(modules, width).map_err(|_| differ(name, "takes"))?;
                if *given.get_or_insert(out) != out {
                    return Err(differ(name, "gives"));
                }
            }
        }
        Ok(Self { routes, flow, takes })
    }

    /// The names of the routes and their modules, in order.
    pub fn routes(&self) -> impl Iterator<Item = (&str, &[NamedModule])> {
        self.routes.iter().map(|(name, modules)| (name, modules.as_slice()))
    }

    /// The route of a task, with its name; without a task, the default route.
    ///
    /// # Errors
    /// When there is none.
    pub fn route_of(&self, task: Option<&str>) -> Result<(&str, &[NamedModule])> {
        self.routes.find(task).map(|(name, modules)| (name, modules.as_slice()))
    }

    pub(super) fn load(folder: &ModuleFolder) -> Result<Self> {
        let structure = Structure::read(folder)?;
        let path = structure.path();
        let routes = structure.routes(|_, parts| parts.into_iter().map(|part| later(folder, &path, part)).collect())?;
        Self::of_routes(routes)
    }
}

/// What a chain of modules takes and gives; `None` when one of them finds something else than it needs.
fn chain_flow(modules: &[NamedModule]) -> Option<Dataflow> {
    let needs = modules.first()?.module.dataflow().needs;
    let mut available = vec![needs];
    let mut gives = needs;
    for NamedModule { module, .. } in modules {
        let flow = module.dataflow();
        if !available.contains(&flow.needs) || flow.needs == Feature::LayerEmbeddings {
            return None;
        }
        gives = flow.gives;
        available.push(gives);
    }
    Some(Dataflow { needs, gives })
}

/// The width that a chain of modules gives, or the one that its first picky module wants.
fn chain_width(modules: &[NamedModule], input: usize) -> Result<usize, usize> {
    modules.iter().try_fold(input, |width, NamedModule { module, .. }| module.output_dim(width))
}

impl Module for InnerRouter {
    fn kind(&self) -> &'static ModuleKind {
        &ROUTER
    }

    fn dataflow(&self) -> Dataflow {
        self.flow
    }

    fn forward(&self, mut features: Features, pass: &Pass) -> Result<Features> {
        let (name, modules) = self.routes.find(features.task.as_deref())?;
        features.task = Some(name.to_owned());
        for NamedModule { module, .. } in modules {
            features = module.forward(features, pass)?;
        }
        Ok(features)
    }

    fn output_dim(&self, input: usize) -> Result<usize, usize> {
        if let Some(width) = self.takes.filter(|&width| width != input) {
            return Err(width);
        }
        self.routes.iter().next().map_or(Ok(input), |(_, modules)| chain_width(modules, input))
    }

    fn save(&self, writer: &ModuleWriter) -> Result<()> {
        self.routes.save(writer, |modules| modules.iter().map(|module| module.module.as_ref()))
    }

    fn with_weights(&self, path: &str, weights: &mut NewWeights) -> Result<Box<dyn Module>> {
        let routes = self.routes.map(|route, modules| {
            let one = |(at, NamedModule { name, module }): (usize, &NamedModule)| {
                let module = module.with_weights(&weight_path(path, route, at), weights)?;
                Ok(NamedModule { name: name.clone(), module })
            };
            modules.iter().enumerate().map(one).collect()
        })?;
        Ok(Box::new(Self::of_routes(routes)?))
    }

    fn config(&self) -> Map<String, Value> {
        self.routes.config()
    }

    fn excludes_prompt(&self) -> bool {
        self.routes.iter().flat_map(|(_, modules)| modules).any(|module| module.module.excludes_prompt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::{Dense, DenseActivation, Normalize, sentence_features};

    fn dense(input: usize, weights: &[f32]) -> NamedModule {
        let module = Dense::new(input, weights.len() / input, weights.to_vec(), None, DenseActivation::Identity);
        NamedModule { name: "0".into(), module: Box::new(module.unwrap()) }
    }

    fn routes(first: Vec<NamedModule>, second: Vec<NamedModule>) -> Result<InnerRouter> {
        InnerRouter::new(vec![("a".into(), first), ("b".into(), second)], None, true)
    }

    #[test]
    fn each_task_has_its_modules_and_an_empty_route_changes_nothing() {
        let router = routes(vec![dense(1, &[3.0])], vec![]).unwrap();
        let run = |task: Option<&str>| {
            let mut features = sentence_features(&[vec![2.0]]);
            features.task = task.map(str::to_owned);
            let out = router.forward(features, &Pass::default()).unwrap();
            (out.sentence_embeddings.unwrap().as_slice()[0], out.task.unwrap())
        };
        assert_eq!(run(Some("a")), (6.0, "a".into()));
        assert_eq!(run(Some("b")), (2.0, "b".into()));
        assert_eq!(run(None), (6.0, "a".into()));
    }

    #[test]
    fn routes_must_fit_each_other() {
        let unit_length = || NamedModule { name: "1".into(), module: Box::new(Normalize) };
        let router = routes(vec![unit_length(), dense(2, &[1.0; 6])], vec![dense(2, &[1.0; 6])]).unwrap();
        assert_eq!((router.output_dim(2), router.output_dim(4)), (Ok(3), Err(2)));
        assert!(routes(vec![dense(2, &[1.0; 6])], vec![dense(2, &[1.0; 4])]).is_err());
        assert!(routes(vec![dense(2, &[1.0; 4])], vec![dense(3, &[1.0; 6])]).is_err());
        assert!(routes(vec![dense(2, &[1.0; 6])], vec![]).is_err());
        assert!(routes(vec![], vec![]).is_err());
        assert_eq!(routes(vec![unit_length()], vec![]).unwrap().output_dim(7), Ok(7));
    }
}
