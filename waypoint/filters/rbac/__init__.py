"""Who may do what: Envoy's RBAC filter.

Policy      permissions (what is asked for) and principals (who asks): one of each must hold
Condition   what a permission or a principal asks of a request or its connection
Rules       policies with an action: ALLOW, DENY, or LOG (Istio's AUDIT)
Settings    rules that are enforced, and shadow rules, whose result is only noted
Rbac        the filter, decided with the plan; for bytes, asked once per connection
"""
