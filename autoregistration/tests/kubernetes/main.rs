//! Against a real API server: the definitions of our kinds, and what is read and written there.

mod cluster;
mod columns;
mod foreign;
mod groups;
mod linkerd;
mod manifests;
mod nonsense;
