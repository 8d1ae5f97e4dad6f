// Package webhooks serves the operator's admission webhooks: conveniences that need a
// look-up or that spare a person some typing.
//
// It stamps the creator of an AccessGrant and the approver of a decision, refuses rules
// and policies that do not compile and grants that policies do not admit, and warns of
// references that are not there. Nothing depends on it: every webhook fails open, the ValidatingAdmissionPolicies of config/admission are the
// boundary, and no webhook matches an update of an AccessGrant, so that nothing stands
// between an administrator and revocation.
//
// Each file holds one kind: a thin shell that speaks AdmissionReview over pure functions.
// Objects are stamped as they were sent, without a round trip through their Go types, so
// that a time or a duration keeps the spelling that its author applied.
package webhooks
