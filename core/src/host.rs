//! What other programs of this host say of themselves: who is logged in over SSH, and which SPIRE server the agent talks
//! to. Text of other people, read with tolerance: what makes no sense is nothing.

pub mod spire_agent;
pub mod ssh_connection;
