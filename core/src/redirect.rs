//! The redirect plan. Written by the redirection slice.
