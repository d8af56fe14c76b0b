//! Linkerd's destination and policy APIs, answered from a [`crate::view::View`].
