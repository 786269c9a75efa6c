//! `Router` as a graph: the graphs of its routes' modules.

use std::sync::Arc;

use sentence_transformers::NamedModule;
use sentence_transformers::modules::{InnerRouter, Module, Router};

use crate::error::{Result, TrainError};

use super::module::{Builder, Flow, GraphModule, Run, typed};

#[derive(Debug)]
struct RouterGraph {
    routes: Vec<(String, Vec<Arc<dyn GraphModule>>)>,
    default_route: Option<String>,
}

pub(super) fn build(module: &dyn Module, path: &str, builder: &mut Builder) -> Result<Arc<dyn GraphModule>> {
    let listed: Vec<(&str, Vec<&dyn Module>)> = match typed::<Router>(module) {
        Ok(router) => {
            router.routes().map(|(name, route)| (name, route.modules().map(|(_, module)| module).collect())).collect()
        }
        Err(_) => typed::<InnerRouter>(module)?.routes().map(|(name, modules)| (name, inner(modules))).collect(),
    };
    let build = builder.build;
    let mut routes = Vec::with_capacity(listed.len());
    for (name, modules) in listed {
        let mut graphs = Vec::with_capacity(modules.len());
        for (position, module) in modules.into_iter().enumerate() {
            graphs.push(build(module, &format!("{path}sub_modules.{name}.{position}."), builder)?);
        }
        routes.push((name.to_owned(), graphs));
    }
    let default_route = module.config().get("default_route").and_then(|name| name.as_str()).map(str::to_owned);
    Ok(Arc::new(RouterGraph { routes, default_route }))
}

fn inner(modules: &[NamedModule]) -> Vec<&dyn Module> {
    modules.iter().map(|module| module.module.as_ref()).collect()
}

impl RouterGraph {
    fn route(&self, task: Option<&str>) -> Result<&[Arc<dyn GraphModule>]> {
        let Some(task) = task.or(self.default_route.as_deref()) else {
            return Err(TrainError::invalid(
                "You must provide a `router_mapping` argument on the training arguments, or set a default route in the \
                 `Router` module.",
            ));
        };
        let found = self.routes.iter().find(|(name, _)| name == task);
        found.map(|(_, modules)| modules.as_slice()).ok_or_else(|| {
            let names: Vec<_> = self.routes.iter().map(|(name, _)| format!("'{name}'")).collect();
            let names = names.join(", ");
            TrainError::invalid(format!("No route found for task type '{task}'. Available routes: [{names}]"))
        })
    }
}

impl GraphModule for RouterGraph {
    fn forward(&self, mut flow: Flow, run: &mut Run<'_>) -> Result<Flow> {
        for module in self.route(run.column.task())? {
            flow = module.forward(flow, run)?;
        }
        Ok(flow)
    }

    fn needs_layers(&self) -> bool {
        self.routes.iter().flat_map(|(_, modules)| modules).any(|module| module.needs_layers())
    }
}
