//! Linkerd's proxy as a child process. Written by the proxy slice.
