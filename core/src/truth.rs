//! The truth test of the proxy. Written by the proxy slice.
