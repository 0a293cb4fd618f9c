"""A small betting service: users, bets and payments that tell each other what happened."""
