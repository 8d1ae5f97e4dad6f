// Package target tells of a Target whether it can be used, and if not, why.
//
// It checks what the Target names: the login Secret with its owner's consent, the
// certificate authorities, the recording store, the rules that are required and those that
// select it. It never reads a login: that a Secret is of the right type it learns from the
// API server by a field selector, with metadata alone.
//
// Nothing here opens a Target. The proxy judges by the same functions and by itself.
package target
