# The wire needs nothing.
{ }
