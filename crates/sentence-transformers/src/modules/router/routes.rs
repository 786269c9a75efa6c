//! [`Routes`]: what routers have in common, whatever their routes hold; and their configuration file.

use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::files::ModuleWriter;
use crate::files::read_json;
use crate::modules::{Module, ModuleConfig, ModuleFolder, ModuleKind, require_kind};
use crate::prompts::python_repr;
use crate::{Error, ErrorKind, Result};

use super::ROUTER;

/// The configuration file.
const CONFIG_FILE: &str = "router_config.json";
/// The configuration file of releases before 5.0.
const OLD_CONFIG_FILE: &str = "config.json";

/// Routes by name, in order, and the one that is taken without a task.
#[derive(Debug)]
pub(super) struct Routes<T> {
    routes: Vec<(String, T)>,
    default_route: Option<String>,
    allow_empty_key: bool,
}

impl<T> Routes<T> {
    pub(super) fn new(routes: Vec<(String, T)>, default_route: Option<&str>, allow_empty_key: bool) -> Result<Self> {
        let Some((first, _)) = routes.first() else {
            return Err(Error::new(ErrorKind::Argument, "The routes dictionary cannot be empty."));
        };
        let default_route = default_route.or(allow_empty_key.then_some(first.as_str())).map(str::to_owned);
        let routes = Self { default_route, allow_empty_key, routes };
        if let Some(name) = &routes.default_route
            && !routes.names().any(|known| known == name)
        {
            let message = format!("Default route '{name}' not found in route keys: {}", routes.list());
            return Err(Error::new(ErrorKind::Argument, message));
        }
        for (position, name) in routes.names().enumerate() {
            // The names become parts of folder names.
            if name.is_empty() || name.contains(['.', '/', '\\', ':', '\0']) {
                let message = format!("a route cannot be called {}", python_repr(name));
                return Err(Error::new(ErrorKind::Argument, message).with_hint("use a word, such as 'query'"));
            }
            if routes.names().take(position).any(|earlier| earlier == name) {
                return Err(Error::new(ErrorKind::Argument, format!("two routes are called '{name}'")));
            }
        }
        Ok(routes)
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.routes.iter().map(|(name, _)| name.as_str())
    }

    fn list(&self) -> String {
        let names: Vec<String> = self.names().map(python_repr).collect();
        format!("[{}]", names.join(", "))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.routes.iter().map(|(name, route)| (name.as_str(), route))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.routes.iter_mut().map(|(_, route)| route)
    }

    /// The route of a task, or the default one without a task.
    pub(super) fn find(&self, task: Option<&str>) -> Result<(&str, &T)> {
        let Some(task) = task.or(self.default_route.as_deref()) else {
            return Err(Error::new(
                ErrorKind::Argument,
                "You must provide a `task` argument when calling this method, or set a default route in the `Router` \
                 module.",
            )
            .with_hint("name the task with EncodeOptions::task, or call encode_query or encode_document"));
        };
        self.iter().find(|(name, _)| *name == task).ok_or_else(|| {
            let message = format!("No route found for task type '{task}'. Available routes: {}", self.list());
            Error::new(ErrorKind::Argument, message)
        })
    }

    /// The same routes with other modules, made from each route's name and modules.
    pub(super) fn map(&self, mut new: impl FnMut(&str, &T) -> Result<T>) -> Result<Self> {
        let route = |(name, route): &(String, T)| Ok((name.clone(), new(name, route)?));
        Ok(Self {
            routes: self.routes.iter().map(route).collect::<Result<_>>()?,
            default_route: self.default_route.clone(),
            allow_empty_key: self.allow_empty_key,
        })
    }

    pub(super) fn config(&self) -> Map<String, Value> {
        let mut keys = Map::new();
        keys.insert("default_route".into(), self.default_route.as_deref().into());
        keys.insert("allow_empty_key".into(), self.allow_empty_key.into());
        keys
    }

    /// Saves the modules of every route, each in a folder of its own, and the configuration.
    pub(super) fn save<'a, M>(&'a self, writer: &ModuleWriter, modules: impl Fn(&'a T) -> M) -> Result<()>
    where
        M: Iterator<Item = &'a dyn Module>,
    {
        let (mut types, mut structure) = (Map::new(), Map::new());
        for (name, route) in self.iter() {
            let mut ids = Vec::new();
            for (index, module) in modules(route).enumerate() {
                let kind = module.kind();
                let id = format!("{name}_{index}_{}", kind.name);
                module.save(&writer.inside(&id)?)?;
                types.insert(id.clone(), format!("{}.{}", kind.type_path, kind.name).into());
                ids.push(id);
            }
            structure.insert(name.to_owned(), ids.into());
        }
        let mut keys = Map::new();
        keys.insert("types".into(), types.into());
        keys.insert("structure".into(), structure.into());
        keys.insert("parameters".into(), self.config().into());
        writer.config(CONFIG_FILE, keys)
    }
}

/// What stands before the name of a weight of a route's module, by the module's position.
pub(super) fn weight_path(path: &str, route: &str, position: usize) -> String {
    format!("{path}sub_modules.{route}.{position}.")
}

/// A module of a route, as the configuration names it.
#[derive(Debug)]
pub(super) struct Part {
    /// Its folder's name.
    pub(super) id: String,
    pub(super) kind: &'static ModuleKind,
}

/// The configuration file, read.
#[derive(Debug)]
pub(super) struct Structure {
    path: PathBuf,
    routes: Vec<(String, Vec<Part>)>,
    default_route: Option<String>,
    allow_empty_key: bool,
}

impl Structure {
    pub(super) fn read(folder: &ModuleFolder) -> Result<Self> {
        let mut path = folder.file(CONFIG_FILE);
        let empty = |value: &Value| value.as_object().is_some_and(Map::is_empty);
        if read_json(&path)?.as_ref().is_none_or(empty) {
            path = folder.file(OLD_CONFIG_FILE);
        }
        let mut config = ModuleConfig::read(path.clone())?;
        if config.is_empty() {
            let message = format!("{}: a router needs this file", folder.file(CONFIG_FILE).display());
            return Err(Error::new(ErrorKind::NotFound, message)
                .with_path(folder.file(CONFIG_FILE))
                .with_hint("the folder is incomplete: download the model again"));
        }
        let object = |config: &mut ModuleConfig, name: &'static str| match config.value(&[name]).cloned() {
            None => Ok(Map::new()),
            Some(Value::Object(entries)) => Ok(entries),
            Some(_) => Err(config.error(format_args!("'{name}' should be an object"))),
        };
        let types = object(&mut config, "types")?;
        let structure = object(&mut config, "structure")?;
        let mut parameters = object(&mut config, "parameters")?;
        let mut routes = Vec::new();
        for (name, ids) in structure {
            let ids = ids.as_array().ok_or_else(|| config.error(format_args!("route '{name}' should be a list")))?;
            let part = |id: &Value| -> Result<Part> {
                let id = id.as_str().ok_or_else(|| config.error(format_args!("route '{name}' should hold texts")))?;
                let type_path = types.get(id).and_then(Value::as_str).ok_or_else(|| {
                    config.error(format_args!("'types' does not say what module '{id}' of route '{name}' is"))
                })?;
                let kind = require_kind(&path, type_path)?;
                // A router without a folder of its own would read this very file again.
                if kind.name == ROUTER.name && matches!(id, "" | ".") {
                    return Err(config.error(format_args!("route '{name}' contains the router itself")));
                }
                Ok(Part { id: id.to_owned(), kind })
            };
            routes.push((name.clone(), ids.iter().map(part).collect::<Result<_>>()?));
        }
        let default_route = match parameters.remove("default_route") {
            None | Some(Value::Null) => None,
            Some(Value::String(name)) => Some(name),
            Some(_) => return Err(config.error("'default_route' should be a text")),
        };
        let allow_empty_key = match parameters.remove("allow_empty_key") {
            None => true,
            Some(Value::Bool(allow)) => allow,
            Some(_) => return Err(config.error("'allow_empty_key' should be true or false")),
        };
        if let Some(name) = parameters.keys().next() {
            return Err(config.error(format_args!("unknown parameter '{name}'")));
        }
        config.finish()?;
        Ok(Self { path, routes, default_route, allow_empty_key })
    }

    /// Reads every route with `read`, which is given the route's name and parts, and puts them together.
    pub(super) fn routes<T>(self, read: impl Fn(&str, Vec<Part>) -> Result<T>) -> Result<Routes<T>> {
        let Self { path, routes, default_route, allow_empty_key } = self;
        let mut read_routes = Vec::with_capacity(routes.len());
        for (name, parts) in routes {
            let route = read(&name, parts)?;
            read_routes.push((name, route));
        }
        Routes::new(read_routes, default_route.as_deref(), allow_empty_key).map_err(|error| Error::config(&path, error))
    }

    /// The file it was read from, for errors.
    pub(super) fn path(&self) -> PathBuf {
        self.path.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(names: &[&str], default: Option<&str>, allow: bool) -> Result<Routes<u8>> {
        Routes::new(names.iter().map(|name| ((*name).to_owned(), 0)).collect(), default, allow)
    }

    fn message<T: std::fmt::Debug>(result: Result<T>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn errors_read_as_the_original_s() {
        assert_eq!(message(routes(&[], None, true)), "The routes dictionary cannot be empty.");
        assert_eq!(
            message(routes(&["query", "document"], Some("x"), true)),
            "Default route 'x' not found in route keys: ['query', 'document']"
        );
        let strict = routes(&["query", "document"], None, false).unwrap();
        assert_eq!(
            message(strict.find(None)),
            "You must provide a `task` argument when calling this method, or set a default route in the `Router` module."
        );
        assert_eq!(
            message(strict.find(Some("x"))),
            "No route found for task type 'x'. Available routes: ['query', 'document']"
        );
    }

    #[test]
    fn without_a_task_the_default_route_is_taken() {
        assert_eq!(routes(&["a", "b"], None, true).unwrap().find(None).unwrap().0, "a");
        assert_eq!(routes(&["a", "b"], Some("b"), false).unwrap().find(None).unwrap().0, "b");
        assert_eq!(routes(&["a", "b"], None, true).unwrap().find(Some("b")).unwrap().0, "b");
    }

    #[test]
    fn names_that_would_leave_the_folder_are_refused() {
        for name in ["", ".", "../up", "a/b", "a\\b", "c:"] {
            assert!(routes(&[name], None, true).is_err(), "{name}");
        }
        assert!(routes(&["a", "a"], None, true).is_err());
    }
}
