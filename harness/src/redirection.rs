//! The rules on this host. Written by the redirection slice.
