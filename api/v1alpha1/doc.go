// Package v1alpha1 holds the kinds of access.cardea.dev/v1alpha1: who may reach
// which target, for how long, on which conditions, and what is recorded of it.
//
// The field comments are the reference that users read; docs/api.md is generated
// from them. Every kind is namespaced and lives in a gate namespace; rules and
// locks in the operator's own namespace, the root namespace, apply to every gate
// namespace.
//
// The package imports apimachinery only, so that other programs can use it.
//
// +kubebuilder:object:generate=true
// +kubebuilder:ac:generate=true
// +groupName=access.cardea.dev
package v1alpha1
