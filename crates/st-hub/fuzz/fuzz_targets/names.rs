//! Names of a repository's files: what is accepted stays below its folder.

#![no_main]

use std::path::Component;

libfuzzer_sys::fuzz_target!(|name: &str| {
    if let Ok(path) = st_hub::relative_path(name) {
        assert!(path.is_relative() && path.components().next().is_some());
        assert!(path.components().all(|component| matches!(component, Component::Normal(_))));
        assert_eq!(path.components().count(), name.split('/').count());
        assert!(!name.contains(['\\', ':', '\0']));
    }
});
