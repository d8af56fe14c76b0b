//! The proxy's environment. Written by the proxy slice.
