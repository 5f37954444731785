"""JSON Web Tokens: who a request says it is for, proven by a signature.

Envoy's JWT authentication filter, which Istio's RequestAuthentication becomes.

Provider     an issuer: whose tokens are taken, where they are found, by which keys
Requirement  which providers' tokens a request needs
Token        one token, taken apart; Status: what is wrong with it, in Envoy's words
Keys         a JSON Web Key Set; Slot: where a provider's keys are, or will be
Keeper       fetches keys from afar and keeps them fresh
"""
