"""Whom the sidecar lets in."""

import unittest

from rendering import NAMESPACE, RELEASE, render


class Policy(unittest.TestCase):
    def test_vms_are_not_asked_for_an_identity_that_the_sidecar_cannot_match(self):
        # Linkerd's proxy compares SPIFFE IDs with exact identities only; "*" matches none of them.
        rendered = render({})
        policy = rendered[("AuthorizationPolicy", NAMESPACE, f"{RELEASE}-registration")]
        self.assertIn("kind: NetworkAuthentication", policy)
        self.assertNotIn("kind: MeshTLSAuthentication", policy)

    def test_replicas_take_questions_of_replicas_only(self):
        rendered = render({})
        policy = rendered[("AuthorizationPolicy", NAMESPACE, f"{RELEASE}-peers")]
        self.assertIn(f"kind: MeshTLSAuthentication, name: {RELEASE}-peers", policy)
        asked = rendered[("MeshTLSAuthentication", NAMESPACE, f"{RELEASE}-peers")]
        self.assertIn(f"kind: ServiceAccount, name: {RELEASE}, namespace: {NAMESPACE}", asked)


if __name__ == "__main__":
    unittest.main()
