"""The application's disk: records that `append` took, from the moment they are durable until a peer has them."""
